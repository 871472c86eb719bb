"""Starting: one supervisord, then patience until every instance has answered in its own name."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bulkhead.clock import now, pause, wait_until
from bulkhead.control import process, readiness, record
from bulkhead.control.record import Record
from bulkhead.control.status import restarts
from bulkhead.control.supervisord import FAILING, Supervisord
from bulkhead.errors import StartError
from bulkhead.render.paths import Home
from bulkhead.topology.model import Instance, Topology

TAIL_LINES = 12
SUPERVISORD_BOOT_S = 10
PROXY_BOOT_S = 10


@dataclass(frozen=True)
class Awaited:
    """One thing that must answer before the stack counts as up."""

    name: str
    answers: Callable[[], bool]
    boot_s: float


def start_supervisord(topology: Topology, nginx: Path) -> Record:
    """Start it in a session of its own and wait until it answers.

    Raises:
        StartError: with the last lines that it printed.
    """
    home = Home(topology.home)
    with (home.log / "supervisord.out").open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-s", "-c", home.supervisord_conf],
            cwd=topology.root,
            # A short and known environment: what runs must not depend on who typed `make up`.
            env={
                "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                "HOME": os.environ.get("HOME", "/"),
                "LANG": "C.UTF-8",
            },
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    leader = process.find(child.pid)
    if leader:
        started = Record(
            leader.pid,
            leader.start_ticks,
            record.machine(),
            str(nginx),
            str(topology.root / topology.source),
            topology.file.model_dump(mode="json", exclude_unset=True),
        )
        record.write(home, started)
        supervisord = Supervisord(home.supervisor_socket)
        wait_until(lambda: supervisord.answers() or child.poll() is not None, SUPERVISORD_BOOT_S)
        if child.poll() is None and supervisord.answers():
            return started
        record.remove(home)
    child.kill()
    child.wait()
    raise StartError("supervisord did not start:", *log_tail(home, "supervisord.out"))


def wait_ready(topology: Topology, ready: Callable[[str], None]) -> None:
    """Wait for nginx, for every instance by name, and for every service at the public listener.

    `ready` is told each name as soon as it has answered.

    Raises:
        StartError: something keeps crashing or took too long; with the last lines it printed.
    """
    home = Home(topology.home)
    _wait(home, [_proxy(home), *_instances(topology, home)], ready)
    _wait(home, _routes(topology), ready)  # last: a probe of a dead route is a failed request


def _wait(home: Home, waiting: list[Awaited], ready: Callable[[str], None]) -> None:
    began = now()
    while waiting:
        for one in [one for one in waiting if one.answers()]:
            waiting.remove(one)
            ready(one.name)
        _raise_if_crashing(home)
        late = [one for one in waiting if now() - began > one.boot_s]
        if late:
            raise StartError(*(line for one in late for line in _not_ready(home, one)))
        pause(0.02)


def _proxy(home: Home) -> Awaited:
    return Awaited("nginx", lambda: readiness.proxy_ready(home.internal_socket), PROXY_BOOT_S)


def _instances(topology: Topology, home: Home) -> list[Awaited]:
    def awaited(one: Instance) -> Awaited:
        return Awaited(
            one.name,
            lambda: readiness.instance_ready(home.internal_socket, one),
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
                *log_tail(home, f"{one.name}.log"),
            )


def _not_ready(home: Home, one: Awaited) -> list[str]:
    log = f"{one.name}.log" if "/" not in one.name else "nginx.error.log"
    return [f"{one.name} did not answer within {one.boot_s:g} s; {log} ends:", *log_tail(home, log)]


def log_tail(home: Home, name: str) -> list[str]:
    """The last lines of one log, indented, for a message."""
    path = home.log / name
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return [f"    {line}" for line in lines[-TAIL_LINES:]] or ["    (nothing)"]
