"""One instance's turn: out of rotation, drained, ended, replaced, ready, back in rotation.

What `roll` and `reload` do to each instance, one at a time. Nobody's request is in an instance
when it ends, and none goes to its successor before that has said it is ready.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from bulkhead.clock import now, pause
from bulkhead.control import record
from bulkhead.control.logs import tail
from bulkhead.control.process import stat
from bulkhead.control.programs import ASK_S, EVERY_S, Programs
from bulkhead.control.rotation import Rotation
from bulkhead.control.supervisord import FAILING
from bulkhead.errors import StartError
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import STOP_MARGIN_S
from bulkhead.topology.model import Instance, ServiceSection, Topology

PROBE_S = 2.5


@dataclass(frozen=True)
class Turn:
    """What it took; seconds."""

    name: str
    old_pid: int  # 0 when it did not run
    new_pid: int
    drained_s: float  # until it had left the rotation and had no request any more
    ended_s: float  # until its process was gone
    ready_s: float  # until its successor said that it was ready
    back_s: float  # until nginx gave it requests
    cut: int  # requests that its grace time was not enough for, when it was told to end

    @property
    def took_s(self) -> float:
        """The whole turn."""
        return self.drained_s + self.ended_s + self.ready_s + self.back_s


@dataclass(frozen=True)
class Site:
    """A running stack, as far as a turn needs it."""

    topologies: tuple[Topology, ...]  # one, or in the middle of a change the new and the old
    programs: Programs
    rotation: Rotation

    @staticmethod
    def of(*topologies: Topology) -> "Site":
        """The site of a running stack that has this topology, or goes over to the first of two."""
        home = Home(topologies[0].home)
        return Site(topologies, Programs(home.supervisor_socket), Rotation.of(topologies[0]))

    @property
    def home(self) -> Home:
        """Its home folder."""
        return Home(self.topologies[0].home)

    def instance(self, name: str) -> Instance:
        """The instance of this name."""
        found = (one for each in self.topologies for one in each.instances())
        return next(one for one in found if one.name == name)

    def grace_s(self, one: Instance) -> float:
        """How long it may take for what it has begun, whichever version of it runs."""
        return max(found.grace_s for found in self._services(one))

    def boot_s(self, one: Instance) -> float:
        """How long a new process of it may take to become ready."""
        return self._services(one)[0].boot_s

    def _services(self, one: Instance) -> list[ServiceSection]:
        return [
            each.services[one.service] for each in self.topologies if one.service in each.services
        ]


def take(site: Site, one: Instance, swap: Callable[[], None]) -> Turn:
    """Replace one instance. `swap` starts its successor once nothing of it runs.

    Raises:
        StateError: nginx or supervisord does not do as told; if it still runs, it serves again.
        StartError: the successor does not become ready. It stays out of rotation.
    """
    began = now()
    cut = site.rotation.take_out(one.name, site.grace_s(one))
    drained = now()
    old = record.leader(site.home, one.name)
    try:
        end(site, one)
    except BaseException:
        site.rotation.unmark(one.name)
        raise
    ended = now()
    swap()
    pid = await_ready(site, one)
    ready = now()
    site.rotation.put_back(one.name)
    return Turn(
        one.name,
        old.pid if old else 0,
        pid,
        drained - began,
        ended - drained,
        ready - ended,
        now() - ready,
        cut,
    )


def end(site: Site, one: Instance) -> None:
    """Let an instance drain and end, by supervisord's own patience and a little more."""
    site.programs.end(one.name, site.grace_s(one) + 2 * STOP_MARGIN_S)


def await_ready(site: Site, one: Instance) -> int:
    """Wait until a process of the program that runs now says that it is ready; its leader's pid.

    It is asked directly: whether nginx may send requests to it is what this decides.

    Raises:
        StartError: it crashed twice, or `boot_s` passed; with the last lines that it printed.
    """
    boot_s = site.boot_s(one)
    deadline = now() + boot_s
    pids: set[int] = set()
    program, asked = None, 0.0
    while True:
        late = now() > deadline
        leader = record.leader(site.home, one.name)
        if leader:
            pids.add(leader.pid)
            if _ready(one, leader.pid):
                return leader.pid
        if now() - asked >= ASK_S:  # seldom: a question costs whoever boots its processor time
            program, asked = site.programs.find(one.name), now()  # also turns supervisord's loop
        if program and program.state in FAILING and len(pids) > 1:
            raise StartError(
                f"{one.name} keeps crashing ({program.description}); it printed:",
                *tail(site.home.log / f"{one.name}.log"),
            )
        if late:
            raise StartError(
                f"{one.name} was not ready within {boot_s:g} s; it printed:",
                *tail(site.home.log / f"{one.name}.log"),
            )
        pause(EVERY_S)


def _ready(one: Instance, leader: int) -> bool:
    """Whether it answers in its own name, from the process `leader` or a child of that."""
    connection = HTTPConnection(one.address, timeout=PROBE_S)
    try:
        connection.request("GET", "/readyz", headers={"X-Request-ID": "readiness-probe"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    boot = answer.headers.get("X-Boot", "").partition(".")[0]
    if answer.status != 200 or answer.headers.get("X-Instance") != one.name or not boot.isdigit():
        return False
    found = stat(int(boot))
    return int(boot) == leader or bool(found and found.parent == leader)
