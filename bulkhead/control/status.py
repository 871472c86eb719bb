"""What runs right now: supervisord's word, the kernel's word, and each instance's own."""

import re
from dataclasses import dataclass

import psutil

from bulkhead.clock import age
from bulkhead.control import process, readiness
from bulkhead.control.record import Record
from bulkhead.control.supervisord import GONE, Program, Supervisord
from bulkhead.errors import StateError
from bulkhead.render.paths import Home
from bulkhead.topology.model import Instance, Topology

_SPAWNED = re.compile(r" spawned: '([^']+)' with pid \d+")


@dataclass(frozen=True)
class ProcessStatus:
    """One supervised process, or supervisord itself."""

    name: str
    service: str  # the service's name, or `proxy`, or `supervisor`
    pid: int | None
    state: str  # supervisord's word for it
    ready: bool
    address: str
    restarts: int  # how often it was started again since the stack came up
    uptime_s: float | None
    memory_mb: float | None  # resident set of this process and its workers
    workers: tuple[int, ...]  # pids of its own children


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
    """Ask everybody once."""
    home = Home(topology.home)
    instances = {one.name: one for one in topology.instances()}
    respawns = restarts(home)
    found = [
        _describe(
            "supervisord", "supervisor", "RUNNING", record.supervisord.pid, True,
            str(home.supervisor_socket), 0, count_children=False,
        )
    ]  # fmt: skip
    names = list(instances)
    programs = sorted(
        _programs(home, record),
        key=lambda one: names.index(one.name) if one.name in instances else -1,  # nginx first
    )
    for program in programs:
        one = instances.get(program.name)
        found.append(
            _describe(
                program.name,
                one.service if one else "proxy",
                program.state,
                program.pid,
                _ready(home, program, one),
                one.address if one else topology.proxy.listen,
                respawns.get(program.name, 0),
            )
        )
    return StackStatus(topology.name, topology.url, str(topology.home), found)


def _programs(home: Home, record: Record) -> list[Program]:
    try:
        return Supervisord(home.supervisor_socket).programs()
    except GONE as error:
        raise StateError(
            f"supervisord (pid {record.pid}) does not answer ({error}): `make down` ends it, hung "
            "or not"
        ) from error


def restarts(home: Home) -> dict[str, int]:
    """How often each program was started again, as supervisord's own log tells it."""
    spawns: dict[str, int] = {}
    log = home.supervisord_log
    for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
        if spawned := _SPAWNED.search(line):
            spawns[spawned[1]] = spawns.get(spawned[1], -1) + 1
    return spawns


def _ready(home: Home, program: Program, instance: Instance | None) -> bool:
    if program.state not in ("RUNNING", "STARTING"):
        return False
    if instance is None:
        return readiness.proxy_ready(home.internal_socket)
    return readiness.instance_ready(home.internal_socket, instance)


def _describe(
    name: str,
    service: str,
    state: str,
    pid: int,
    ready: bool,
    address: str,
    restarts: int,
    count_children: bool = True,
) -> ProcessStatus:
    live = process.find(pid)
    workers = process.children(pid) if live and count_children else []
    return ProcessStatus(
        name=name,
        service=service,
        pid=live.pid if live else None,
        state=state,
        ready=ready,
        address=address,
        restarts=restarts,
        uptime_s=age(live.start_ticks) if live else None,
        memory_mb=_memory_mb([live, *workers]) if live else None,
        workers=tuple(worker.pid for worker in workers),
    )


def _memory_mb(processes: list[process.Process]) -> float:
    total = 0
    for one in processes:
        try:
            total += psutil.Process(one.pid).memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20
