"""The record of a running stack: `run/stack.json` says which processes are it, and its topology.

It is how every later command finds the stack, and how the orphans of a dead supervisord are found:
the first supervisord leads a session of its own, and nothing that it starts leaves that session.
The watchdog starts a successor in the same session, and writes that one down here.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import get_origin

from bulkhead import proc
from bulkhead.atomic import BROKEN
from bulkhead.clock import wait_until
from bulkhead.errors import ConfigError, StateError
from bulkhead.proc import Process
from bulkhead.render.files import File, write_all
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import WATCH
from bulkhead.supervise.home import refuse_strangers_home
from bulkhead.topology.model import Topology
from bulkhead.topology.parse import resolve

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
    session: int = 0  # the pid of the first supervisord, which names the session; 0: `pid`
    session_ticks: int = 0  # when that one started
    may_duplicate: bool = True  # proc.may_duplicate, of this stack's processes

    @property
    def supervisord(self) -> Process:
        """The process that leads the stack."""
        return Process(self.pid, self.start_ticks)

    def leads(self) -> bool:
        """Whether this supervisord still runs."""
        return self.machine == machine() and proc.alive(self.supervisord)

    def members(self) -> list[Process]:
        """supervisord, if it lives, and every process that it or its children started."""
        if self.machine != machine():
            return []
        first = Process(self.session, self.session_ticks) if self.session else self.supervisord
        members = proc.session(first.pid)
        # Had the number been given to a new session leader, that one would not be ours.
        taken = any(process.pid == first.pid and process != first for process in members)
        return [] if taken else members

    def resolved(self) -> Topology:
        """The topology in force, whatever the file says; StateError if it is none any more."""
        try:
            return resolve(self.topology, Path(self.source))
        except ConfigError as error:
            raise StateError(
                f"the stack of {self.source} was started with what is no topology (any more); "
                "`make down` ends it:",
                *(f"  {line}" for line in error.lines),
            ) from error


def machine() -> str:
    """The id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read(home: Home) -> Record | None:
    """The record in a home, if there is one; StateError if it is broken and the stack runs."""
    record, wrong = parsed(home)
    if wrong and (left := survivors(home)):
        pids = ", ".join(str(process.pid) for process in left[:3])
        raise StateError(
            f"{wrong}, and {len(left)} processes of this stack run (pid {pids}, ...): "
            "`make down` ends them"
        )
    return record


def parsed(home: Home) -> tuple[Record | None, str]:
    """The record, if there is one that can be read, and what is wrong with one that cannot."""
    try:
        record = Record(**json.loads(home.record.read_bytes()))
        for field in fields(Record):
            value = getattr(record, field.name)
            if type(value) is not (get_origin(field.type) or field.type):
                raise TypeError(f"{field.name} = {value!r}")
    except FileNotFoundError:
        return None, ""
    except BROKEN as error:
        size = home.record.stat().st_size
        why = "is empty" if not size else f"is no record of a stack ({type(error).__name__})"
        return None, f"{home.record}: {why}, as a power cut leaves it"
    return record, ""


def write(home: Home, record: Record) -> None:
    """Put the record down."""
    write_all([File(home.record, json.dumps(asdict(record), indent=1) + "\n")])


def leader(home: Home, program: str) -> Process | None:
    """The live process that leads a program, adopted or not, as supervisor/launch noted it."""
    return proc.read_note(home.programs / program)


def settled(home: Home) -> Record | None:
    """As `read`, but not while a watchdog is about to replace a dead supervisord."""

    def is_settled() -> bool:
        record = read(home)
        if record is None or record.leads() or not record.members():
            return True
        return home.stopping.exists() or leader(home, WATCH) is None

    wait_until(is_settled, REPLACED_S)
    return read(home)


def require(home: Home) -> Record:
    """The record of the running stack; StateError if it is not up, or has no supervisord."""
    refuse_strangers_home(home)
    record = settled(home)
    if record and record.leads():
        return record
    if record and (left := record.members()):
        raise StateError(
            f"supervisord of this stack (pid {record.pid}) is dead and {len(left)} of its "
            "processes run on without it: run `make up` to replace them, or `make down` to stop "
            "them"
        )
    lines = [f"the stack in {home.path} is not up: run `make up`"]
    if wrong := parsed(home)[1]:
        lines.insert(0, f"{wrong}, and nothing of the stack runs")
    raise StateError(*lines)


def require_whole(home: Home) -> Record:
    """As `require`; StateError also where this host is one of several."""
    record = require(home)
    role = record.resolved().hosts.role
    if role != "all":
        raise StateError(
            f'this is one host of several (hosts.role = "{role}"), and this command changes or '
            "loads a whole stack: on an application host change the topology and `make restart`, "
            "one host after the other"
        )
    return record


def survivors(home: Home) -> list[Process]:
    """Every live process of the stack in this home, found without its record, eldest first.

    Each process says itself to which stack it belongs: supervisord by the configuration in its
    command line, its programs by SUPERVISOR_SERVER_URL. nginx's workers say nothing, but are of the
    same session.
    """
    every = [(process, status) for process, status in proc.living() if process.pid != os.getpid()]
    ours = {process for process, _ in every if _belongs(process, home)}
    sessions = {status.session for process, status in every if process in ours} - {os.getsid(0)}
    ours |= {process for process, status in every if status.session in sessions}
    return sorted(ours, key=lambda process: (process.start_ticks, process.pid))


def _belongs(process: Process, home: Home) -> bool:
    """Whether it is a supervisord of this home, or one has started it."""
    try:
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        words = []
    configured = (b"-c", os.fsencode(home.supervisord_conf)) in pairwise(words)
    url = proc.variable(process, "SUPERVISOR_SERVER_URL")
    is_supervisord = b"supervisor.supervisord" in words and configured
    return is_supervisord or url == f"unix://{home.supervisor_socket}"
