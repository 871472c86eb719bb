"""The record of a running stack: which supervisord leads it, and the topology it was started with.

It is how every later command finds the stack, and how what a dead supervisord left behind is
found: the first supervisord leads a session of its own, and nothing that it starts leaves that
session. The watchdog starts a successor in the same session, and writes that one down here.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from bulkhead.clock import wait_until
from bulkhead.control.process import Process, alive, session, stat
from bulkhead.errors import StateError
from bulkhead.render.files import File, write_all
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import WATCH
from bulkhead.topology.load import resolve
from bulkhead.topology.model import Topology

REPLACED_S = 5  # how long a watchdog may take to replace a dead supervisord


@dataclass(frozen=True)
class Record:
    """What `up` writes down; the watchdog changes `pid` and `start_ticks`."""

    pid: int  # the supervisord of now
    start_ticks: int
    machine: str  # the kernel's boot id: after a reboot, pids mean other processes
    nginx: str  # the program that was started
    source: str  # the topology's file, and below what it said
    topology: dict[str, object]
    session: int = 0  # the pid of the first supervisord, by which the session is called; 0: `pid`
    session_ticks: int = 0  # when that one started

    @property
    def supervisord(self) -> Process:
        """The process that leads the stack."""
        return Process(self.pid, self.start_ticks)

    @property
    def first(self) -> Process:
        """The process that made the session, dead or alive."""
        return Process(self.session, self.session_ticks) if self.session else self.supervisord

    def leads(self) -> bool:
        """Whether this supervisord still runs."""
        return self.machine == machine() and alive(self.supervisord)

    def members(self) -> list[Process]:
        """supervisord, if it lives, and every process that it or its children started."""
        if self.machine != machine():
            return []
        found = session(self.first.pid)
        # Had the number been given to a new session leader, that one would not be ours.
        leader = next((one for one in found if one.pid == self.first.pid), None)
        return found if leader in (None, self.first) else []

    def roots(self) -> list[Process]:
        """The members that no other member has started: programs, once supervisord is dead."""
        members = self.members()
        pids = {one.pid for one in members}
        parents = ((one, stat(one.pid)) for one in members)
        return [one for one, found in parents if found and found.parent not in pids]

    def resolved(self) -> Topology:
        """The topology that is in force, whatever the file says by now."""
        return resolve(self.topology, Path(self.source))


def machine() -> str:
    """The id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read(home: Home) -> Record | None:
    """The record in a home folder; None when no stack was started there."""
    try:
        return Record(**json.loads(_path(home).read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StateError(
            f"{_path(home)}: is not a record of a stack ({error}); if its processes still run, "
            "end its supervisord by hand; then remove this file"
        ) from error


def write(home: Home, record: Record) -> None:
    """Put the record down."""
    write_all([File(_path(home), json.dumps(asdict(record), indent=1) + "\n")])


def remove(home: Home) -> None:
    """Forget the stack."""
    _path(home).unlink(missing_ok=True)


def leader(home: Home, program: str) -> Process | None:
    """The live process that leads a supervised program, as supervisor/launch noted it.

    It may be none of supervisord's children: what outlived its supervisord leads on, and the new
    one has a stand-in for it.
    """
    try:
        pid, ticks = (home.programs / program).read_text().split()
    except (FileNotFoundError, ValueError):  # never started, or noted at this very moment
        return None
    noted = Process(int(pid), int(ticks))
    return noted if alive(noted) else None


def settled(home: Home) -> Record | None:
    """As `read`, but not while a watchdog is about to replace a dead supervisord."""

    def is_settled() -> bool:
        known = read(home)
        if known is None or known.leads() or not known.members():
            return True
        return home.stopping.exists() or leader(home, WATCH) is None

    wait_until(is_settled, REPLACED_S)
    return read(home)


def require(home: Home) -> Record:
    """The record of the running stack.

    Raises:
        StateError: it is not up, or it runs without a supervisord.
    """
    found = settled(home)
    if found and found.leads():
        return found
    if found and (left := found.members()):
        raise StateError(
            f"supervisord of this stack (pid {found.pid}) is dead and {len(left)} of its processes "
            "run on without it: run `make up` to replace them, or `make down` to stop them"
        )
    raise StateError(f"the stack in {home.path} is not up: run `make up`")


def require_whole(home: Home) -> Record:
    """As `require`, of a stack that is on this host alone.

    Raises:
        StateError: also when this host is one of several: what is asked for takes all of them.
    """
    found = require(home)
    role = found.resolved().hosts.role
    if role != "all":
        raise StateError(
            f'this is one host of several (hosts.role = "{role}"), and this command changes or '
            "loads a whole stack: on an application host change the topology and `make restart`, "
            "one host after the other"
        )
    return found


def _path(home: Home) -> Path:
    return home.run / "stack.json"
