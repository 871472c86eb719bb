"""Starting: one supervisord, then patience until every instance has answered in its own name."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from bulkhead.clock import now, pause, wait_until
from bulkhead.control import process, readiness, record
from bulkhead.control.interrupts import held
from bulkhead.control.logs import restarts, tail
from bulkhead.control.record import Record
from bulkhead.control.stop import end_all
from bulkhead.control.supervisord import FAILING, Supervisord
from bulkhead.errors import StartError
from bulkhead.render.paths import Home
from bulkhead.render.watch import supervisord_command
from bulkhead.topology.model import Instance, Topology

Say = Callable[[str], None]

SUPERVISORD_BOOT_S = 10
PROXY_BOOT_S = 10

# What the stack runs. Not sys.executable: `python` and `python3` are the same, and must render so.
INTERPRETER = Path(sys.prefix) / "bin" / "python"


@dataclass(frozen=True)
class Awaited:
    """One thing that must answer before the stack counts as up."""

    name: str
    answers: Callable[[], bool]
    boot_s: float


def start_supervisord(topology: Topology, nginx: Path) -> Record:
    """Start it in a session of its own, put its record down, and wait until it answers.

    Raises:
        StartError: with the last lines that it printed. The record says what is left to stop.
    """
    home = Home(topology.home)
    with held(), (home.log / "supervisord.out").open("wb") as out:
        child = _spawn(topology, out)
        started = _record(topology, nginx, child.pid)
        try:
            record.write(home, started)
        except BaseException:
            end_all(started)
            raise
    supervisord = Supervisord(home.supervisor_socket)
    wait_until(lambda: supervisord.answers() or child.poll() is not None, SUPERVISORD_BOOT_S)
    if child.poll() is not None or not supervisord.answers():
        raise StartError("supervisord did not start:", *tail(home.log / "supervisord.out"))
    return started


def become_supervisord(topology: Topology, nginx: Path) -> NoReturn:
    """Put the record down, and become supervisord by exec: same pid, same session.

    It prints what it logs: whoever holds this process wants to see it.
    """
    record.write(Home(topology.home), _record(topology, nginx, os.getpid()))
    command = [one for one in supervisord_command(Home(topology.home), INTERPRETER) if one != "-s"]
    os.chdir(topology.root)
    os.execve(command[0], command, _environment())


def _record(topology: Topology, nginx: Path, pid: int) -> Record:
    """The record of a stack whose first supervisord is, or will be, the process `pid`."""
    leader = process.find(pid)
    ticks = leader.start_ticks if leader else 0
    return Record(
        pid=pid,
        start_ticks=ticks,
        machine=record.machine(),
        nginx=str(nginx),
        source=str(topology.root / topology.source),
        topology=topology.file.model_dump(mode="json", exclude_unset=True),
        session=pid,
        session_ticks=ticks,
    )


def _environment() -> dict[str, str]:
    """A short and known one: what runs must not depend on who typed `make up`."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
    }


def _spawn(topology: Topology, out: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        supervisord_command(Home(topology.home), INTERPRETER),
        cwd=topology.root,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=out,
        start_new_session=True,
    )


def wait_ready(topology: Topology, started: Record, ready: Say) -> None:
    """Wait for nginx, for every instance by name, and for every service at the public listener.

    `ready` is told each name as soon as it has answered.

    Raises:
        StartError: something keeps crashing or took too long; with the last lines it printed.
    """
    home = Home(topology.home)
    proxy = [_proxy(home)] if topology.has_proxy else []
    _wait(home, started, [*proxy, *_instances(topology)], ready)
    if topology.hosts.role == "all":
        # Last: a probe of a dead route is a failed request.
        _wait(home, started, _routes(topology), ready)


def _wait(home: Home, started: Record, waiting: list[Awaited], ready: Say) -> None:
    began = now()
    while waiting:
        for one in [one for one in waiting if one.answers()]:
            waiting.remove(one)
            ready(one.name)
        if not started.leads():
            raise StartError("supervisord has died:", *tail(home.log / "supervisord.log"))
        _raise_if_crashing(home)
        late = [one for one in waiting if now() - began > one.boot_s]
        if late:
            raise StartError(*(line for one in late for line in _not_ready(home, one)))
        pause(0.02)


def _proxy(home: Home) -> Awaited:
    return Awaited("nginx", lambda: readiness.proxy_ready(home.internal_socket), PROXY_BOOT_S)


def _instances(topology: Topology) -> list[Awaited]:
    def awaited(one: Instance) -> Awaited:
        return Awaited(
            one.name,
            lambda: readiness.accepts(one) and readiness.instance_ready(topology, one),
            topology.services[one.service].boot_s,
        )

    return [awaited(one) for one in topology.instances()]


def _routes(topology: Topology) -> list[Awaited]:
    def awaited(service: str, route: str) -> Awaited:
        names = {one.name for one in topology.instances(service)}
        return Awaited(
            f"{topology.url}{route}",
            lambda: readiness.public_answer(topology.url, route) in names,
            topology.services[service].boot_s,
        )

    return [awaited(name, one.routes[0]) for name, one in topology.services.items()]


def _raise_if_crashing(home: Home) -> None:
    """A program that has died twice while we waited will not become ready by waiting longer."""
    again = restarts(home)
    if not any(again.values()):
        return
    for one in Supervisord(home.supervisor_socket).programs():
        if one.state in FAILING and again.get(one.name, 0) >= 1:
            raise StartError(
                f"{one.name} keeps crashing ({one.state}: {one.description}); it printed:",
                *tail(home.log / f"{one.name}.log"),
            )


def _not_ready(home: Home, one: Awaited) -> list[str]:
    log = f"{one.name}.log" if "/" not in one.name else "nginx.error.log"
    return [
        f"{one.name} did not answer within {one.boot_s:g} s; {log} ends:",
        *tail(home.log / log),
    ]
