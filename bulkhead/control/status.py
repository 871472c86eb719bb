"""What runs right now: in the words of supervisord, the kernel, the watchdog, and each itself."""

import json
from dataclasses import dataclass

from bulkhead.clock import age, wait_until
from bulkhead.control import process, readiness, record
from bulkhead.control.logs import SUPERVISORD, restarts, tail
from bulkhead.control.process import Process
from bulkhead.control.record import Record
from bulkhead.control.supervisord import GONE, Program, Supervisord
from bulkhead.errors import StateError
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import NGINX, WATCH
from bulkhead.topology.model import Topology

LIVES = ("STARTING", "RUNNING")
STARTS_S = 5  # how long a supervisord that the watchdog has just started may take to listen


@dataclass(frozen=True)
class ProcessStatus:
    """One supervised process, or supervisord itself."""

    name: str
    service: str  # the service's name, or `proxy`, `watch` or `supervisor`
    pid: int | None  # of the process that leads it, whoever is its parent
    state: str  # supervisord's word for it
    ready: bool
    address: str
    restarts: int  # how often it was started again since the stack came up
    uptime_s: float | None
    memory_mb: float | None  # resident set of this process and its workers
    workers: tuple[int, ...]  # pids of its own children
    adopted: bool = False  # it has outlived its supervisord; the new one holds a stand-in
    watched: str = ""  # the watchdog's word for it: up, starting, crashing, hung, out, down
    crashes: int = 0  # how often in a row it has died without having been ready
    printed: tuple[str, ...] = ()  # its last lines, when it keeps crashing


@dataclass(frozen=True)
class StackStatus:
    """The whole stack."""

    stack: str
    url: str
    home: str
    processes: list[ProcessStatus]

    @property
    def ready(self) -> bool:
        """Whether everything that should serve does."""
        return all(one.ready for one in self.processes)


def status(topology: Topology, record: Record) -> StackStatus:
    """Ask everybody once.

    Raises:
        StateError: supervisord does not answer.
    """
    home = Home(topology.home)
    proxy = [NGINX] if topology.has_proxy else []
    order = [WATCH, *proxy, *(one.name for one in topology.instances())]
    programs = {one.name: one for one in _programs(home, record)}
    respawns = restarts(home)
    standing = _standing(home)
    found = [_supervisord(home, record, respawns[SUPERVISORD])]
    for name in [name for name in order if name in programs]:
        known = standing.get(name, {})
        found.append(_program(topology, programs[name], respawns.get(name, 0), known))
    return StackStatus(topology.name, topology.url, str(topology.home), found)


def _supervisord(home: Home, running: Record, respawns: int) -> ProcessStatus:
    leader = process.find(running.supervisord.pid)
    address = str(home.supervisor_socket)
    return ProcessStatus(
        SUPERVISORD, "supervisor", running.pid, "RUNNING", True, address, respawns,
        age(leader.start_ticks) if leader else None, _memory_mb([leader]) if leader else None, (),
    )  # fmt: skip


def _programs(home: Home, running: Record) -> list[Program]:
    supervisord = Supervisord(home.supervisor_socket)

    def asked() -> list[Program] | None:
        try:
            return supervisord.programs()
        except (FileNotFoundError, ConnectionRefusedError):  # it is only just starting
            return None

    try:
        return wait_until(asked, STARTS_S) or supervisord.programs()
    except GONE as error:
        raise StateError(
            f"supervisord (pid {running.pid}) does not answer ({error}): `make down` ends it, hung "
            "or not"
        ) from error


def _program(
    topology: Topology, program: Program, respawns: int, known: dict[str, object]
) -> ProcessStatus:
    home = Home(topology.home)
    name = program.name
    leader = record.leader(home, name)
    instance = next((one for one in topology.instances() if one.name == name), None)
    others = {NGINX: ("proxy", topology.proxy.listen), WATCH: (WATCH, "")}
    service, address = (instance.service, instance.address) if instance else others[name]
    workers = process.children(leader.pid) if leader else []
    crashing = known.get("state") == "crashing"
    return ProcessStatus(
        name=name,
        service=service,
        pid=leader.pid if leader else None,
        state=program.state,
        ready=bool(leader and program.state in LIVES and _ready(topology, name)),
        address=address,
        restarts=respawns,
        uptime_s=age(leader.start_ticks) if leader else None,
        memory_mb=_memory_mb([leader, *workers]) if leader else None,
        workers=tuple(worker.pid for worker in workers),
        adopted=bool(leader and program.pid and program.pid != leader.pid),
        watched=str(known.get("state", "")),
        crashes=int(str(known.get("crashes", 0))),
        printed=tuple(tail(home.log / f"{name}.log")) if crashing else (),
    )


def _ready(topology: Topology, name: str) -> bool:
    """Whether a program that runs says so itself."""
    if name == WATCH:
        return True
    if name == NGINX:
        return readiness.proxy_ready(Home(topology.home).internal_socket)
    return any(
        readiness.instance_ready(topology, one) for one in topology.instances() if one.name == name
    )


def _standing(home: Home) -> dict[str, dict[str, object]]:
    """What the watchdog last wrote about each program; nothing where there is none."""
    try:
        programs = json.loads((home.run / "watch.json").read_text())["programs"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return programs if isinstance(programs, dict) else {}


def _memory_mb(processes: list[Process]) -> float:
    return sum(map(process.resident_mb, processes))
