"""The processes now: in the words of supervisord, the kernel, the watchdog, and each itself."""

import json
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bulkhead import http_probe, proc
from bulkhead.atomic import BROKEN
from bulkhead.clock import age, now, pause, wait_until
from bulkhead.errors import StateError
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import NGINX, WATCH
from bulkhead.supervise import record
from bulkhead.supervise.record import Record
from bulkhead.supervisor_rpc import NotAnsweringError, Program, Supervisord
from bulkhead.topology.model import Instance, Topology

SUPERVISORD = "supervisord"
CRASHING = "crashing"  # the watchdog's word for a program that cannot start
LIVES = ("STARTING", "RUNNING")
STARTS_S = 5  # how long a supervisord that the watchdog has just started may take to listen
TAIL_LINES = 12

# Of `status --live`, together less than a health check's patience of 5 s: whoever died a moment ago
# is replaced soon.
LIVE_ANSWER_S = 1.0
LIVE_REPLACED_S = 2.0

_BORN = re.compile(r" supervisord started with pid \d+")
_SPAWNED = re.compile(r" spawned: '([^']+)' with pid \d+")


@dataclass(frozen=True)
class ProcessStatus:
    """One supervised process, or supervisord itself."""

    name: str
    service: str  # the service's name, or `proxy`, `watch` or `supervisor`
    pid: int | None  # of the process that leads it, which need not be supervisord's child
    state: str  # supervisord's word for it
    ready: bool
    address: str
    restarts: int  # how often it was started again since the stack came up
    uptime_s: float | None
    memory_mb: float | None  # resident set of this process and its workers
    workers: tuple[int, ...]  # pids of its own children
    adopted: bool = False  # it has outlived its supervisord; the new one holds a shim
    watched: str = ""  # the watchdog's word for it: up, starting, crashing, hung, drained, down
    crashes: int = 0  # how often in a row it has died without having been ready
    printed: tuple[str, ...] = ()  # its last lines, when it keeps crashing
    rows_dropped: int = 0  # rows that it could not write since it started


@dataclass(frozen=True)
class StackStatus:
    """The whole stack."""

    stack: str
    url: str
    home: str
    processes: list[ProcessStatus]
    full: tuple[str, ...] = ()  # folders of the home without room

    @property
    def ready(self) -> bool:
        """Whether everything that should serve does."""
        return all(process.ready for process in self.processes)

    @property
    def serves(self) -> bool:
        """Whether every service has a ready instance, and nothing else is about to start."""
        services = {process.service for process in self.processes}
        ready = {process.service for process in self.processes if process.ready}
        return services == ready and all(
            process.ready or process.watched == CRASHING for process in self.processes
        )


def status(running: Record) -> StackStatus:
    """Ask supervisord (or StateError), the kernel, the watchdog and every instance once."""
    topology = running.resolved()
    home = Home(topology.home)
    known = {program.name: (program.state, program.pid) for program in programs(home, running)}
    known[SUPERVISORD] = "RUNNING", running.pid
    order = [
        (SUPERVISORD, "supervisor", str(home.supervisor_socket), None),
        (WATCH, WATCH, "", None),
        (NGINX, "proxy", topology.proxy.listen, None),
        *((one.name, one.service, one.address, one) for one in topology.instances()),
    ]
    respawns, standing = restarts(home), _standing(home)
    processes = []
    for name, service, address, instance in order:
        if name not in known:
            continue
        state, pid = known[name]
        leader = running.supervisord if name == SUPERVISORD else record.leader(home, name)
        workers = proc.children(leader.pid) if leader and name != SUPERVISORD else []
        watched, crashes = standing.get(name, ("", 0))
        dropped = http_probe.dropped_rows(instance.address) if instance and leader else 0
        process = ProcessStatus(
            name=name,
            service=service,
            pid=leader.pid if leader else None,
            state=state,
            ready=bool(leader and state in LIVES and _ready(topology, name, instance)),
            address=address,
            restarts=respawns.get(name, 0),
            uptime_s=age(leader.start_ticks) if leader else None,
            memory_mb=sum(map(proc.resident_mb, [leader, *workers])) if leader else None,
            workers=tuple(worker.pid for worker in workers),
            adopted=bool(leader and pid not in (0, leader.pid)),
            watched=watched,
            crashes=crashes,
            printed=tuple(tail(home.log / f"{name}.log")) if watched == CRASHING else (),
            rows_dropped=dropped,
        )
        processes.append(process)
    folders = [folder for folder in (home.rows, home.log, home.data) if folder.exists()]
    full = tuple(str(folder) for folder in folders if not os.statvfs(folder).f_bavail)
    return StackStatus(topology.file.stack.name, topology.url, str(topology.home), processes, full)


def programs(home: Home, running: Record) -> list[Program]:
    """All programs of a running stack; StateError if supervisord does not answer."""
    supervisord, deadline = Supervisord(home.supervisor_socket), now() + STARTS_S
    while True:
        late = now() > deadline
        try:
            return supervisord.programs()
        except NotAnsweringError as error:
            if late or not error.absent:
                raise StateError(
                    f"supervisord (pid {running.pid}) does not answer ({error.reason}): "
                    "`make down` ends it, hung or not"
                ) from error
        pause(0.02)


def require_started(home: Home, programs: Iterable[Program]) -> None:
    """Raise StateError with the command to start those stopped by hand: nothing else would."""
    control = Path(sys.prefix) / "bin" / "supervisorctl"
    start = shlex.join([str(control), "-c", str(home.supervisord_conf), "start"])
    said = "is STOPPED: somebody has stopped it by hand; start it:"
    if stopped := [program.name for program in programs if program.state == "STOPPED"]:
        raise StateError(*(f"{name} {said} {start} {name}" for name in stopped))


def instance_ready(topology: Topology, instance: Instance) -> bool:
    """Whether it says in its own name that it is ready: through nginx, if there is one."""
    if not http_probe.accepts(instance.host, instance.port):
        return False
    if topology.has_proxy:
        internal = Home(topology.home).internal_socket
        return http_probe.ask_nginx(internal, f"/{instance.name}/readyz").is_ok(instance.name)
    return http_probe.answers(instance.host, instance.port, instance.name, "/readyz")


def _ready(topology: Topology, name: str, instance: Instance | None) -> bool:
    """Whether a program that runs says so itself."""
    if instance:
        return instance_ready(topology, instance)
    return name != NGINX or bool(http_probe.generation(Home(topology.home).internal_socket))


def _standing(home: Home) -> dict[str, tuple[str, int]]:
    """The watchdog's word for each program, and its crashes; empty when that cannot be read."""
    try:
        programs = json.loads(home.standing.read_text())["programs"]
        return {name: (str(one["state"]), int(one["crashes"])) for name, one in programs.items()}
    except (OSError, ArithmeticError, *BROKEN):
        return {}


def tail(log: Path) -> list[str]:
    """The last lines of a log, indented, for a message."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [f"    {line}" for line in lines[-TAIL_LINES:]] or ["    (nothing)"]


def restarts(home: Home) -> dict[str, int]:
    """How often each program, and supervisord, was started again, as supervisord's log tells it.

    A program's first start by another supervisord does not count: that adopts what runs.
    """
    log = home.supervisord_log
    counts = {SUPERVISORD: 0}
    seen: set[str] = set()
    for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
        if _BORN.search(line):
            counts[SUPERVISORD] += bool(seen)
            seen.clear()
        elif spawned := _SPAWNED.search(line):
            name = spawned[1]
            counts[name] = counts.get(name, 0) + (name in seen)
            seen.add(name)
    return counts


def liveness(home: Home) -> dict[str, bool]:
    """Whether `supervisord` and the loop of `watch` answer; StateError if the stack is not up.

    A check that replaces a whole host asks this: an instance that crashes again and again would
    cost it the instances that serve (docs/containers.md).
    """
    watched = record.require(home).resolved().file.stack.watch
    supervisord = Supervisord(home.supervisor_socket, LIVE_ANSWER_S)
    answers: dict[str, bool] = {}

    def live() -> bool:
        answers["supervisord"] = supervisord.answers()
        answers["watch"] = not watched or _loop_answers(home.watch_socket)
        return all(answers.values())

    wait_until(live, LIVE_REPLACED_S)
    return answers


def _loop_answers(path: Path) -> bool:
    """Whether a watchdog's loop answers at its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(LIVE_ANSWER_S)
        try:
            connection.connect(str(path))
            return bool(connection.recv(32))
        except OSError:
            return False
