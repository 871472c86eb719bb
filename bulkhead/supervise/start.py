"""up, restart, serve: a stack starts, and it is up once every instance has answered by its name.

Each command completes, or takes back what it has begun.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import NoReturn

from bulkhead import proc
from bulkhead.atomic import close_to_others, no_link
from bulkhead.clock import now, pause, wait_until
from bulkhead.errors import StartError, StateError
from bulkhead.http_probe import ANSWER_S, ask, generation
from bulkhead.interrupts import signals_deferred
from bulkhead.render.files import File, text_of, write_all
from bulkhead.render.nginx import render_nginx
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import (
    NGINX,
    WATCH,
    render_supervisor,
    render_watch,
    supervisord_command,
)
from bulkhead.supervise import nginx, preflight, record
from bulkhead.supervise.home import Say, lock, make_folders, prepare
from bulkhead.supervise.record import Record, leader
from bulkhead.supervise.status import instance_ready, programs, require_started, restarts, tail
from bulkhead.supervise.stop import Stack, kill
from bulkhead.supervisor_rpc import FAILING, Supervisord
from bulkhead.topology.model import Topology

BOOT_S = 10  # of supervisord, nginx and the watchdog

# The stack's Python. Not sys.executable: `python` and `python3` are the same, and must render so.
INTERPRETER = Path(sys.prefix) / "bin" / "python"


def up(topology: Topology, say: Say) -> bool:
    """Start the stack and wait until all of it has answered; False when it was up already.

    StateError if a port is taken, or what is up has another configuration or a stopped program.
    ConfigError if nginx refuses what was rendered. StartError if something did not become ready;
    nothing was left running.
    """
    home = Home(topology.home)
    with lock(home):
        running = record.settled(home)
        if running and running.leads():
            home.stopping.unlink(missing_ok=True)  # a `down` that was cut short goes no further
            files = render(topology, Path(running.nginx))
            if changed := [one.path.name for one in files if text_of(one.path) != one.text]:
                raise StateError(
                    f"the stack is up, but {topology.source} and the templates now give another "
                    f"{' and '.join(changed)}: run `make reload` to apply it"
                )
            require_started(home, programs(home, running))
            _wait_ready(topology, running, lambda _name: None)
            return False
        if running and (left := running.members()):
            say(f"supervisord had died; stopping the {len(left)} processes it left behind")
            Stack.of(running).stop()
        _start(topology, *_check(topology, [], say), say)
        return True


def restart(topology: Topology, say: Say) -> None:
    """Stop the stack if it is up, and start it. Every check that can fail comes before the stop.

    StateError, ConfigError as `up`; the running stack goes on. StartError as `up`; the stack is
    down.
    """
    home = Home(topology.home)
    with lock(home):
        running = record.read(home)
        own = running.members() if running else []
        program, files = _check(topology, [process.pid for process in own], say)
        if running and own:
            say(f"stopping {len(own)} processes")
            Stack.of(running).stop()
        _start(topology, program, files, say)


def serve(topology: Topology, say: Say) -> NoReturn:
    """Become the supervisord of the stack: the process of an init system or a container.

    As `up`, but it does not wait: the init system asks by `status` whether all of it is ready, and
    ends it by SIGTERM. supervisord prints what it logs.
    StateError if a port is taken, the stack is up, or this process does not lead a session.
    ConfigError if nginx refuses what was rendered.
    """
    home = Home(topology.home)
    if os.getsid(0) != os.getpid():
        raise StateError(
            "serve must be the first process of its session, as a container or an init system "
            "starts it; by hand: setsid -w bulkhead serve"
        )
    with lock(home):
        running = record.settled(home)
        if running and running.members():
            raise StateError(f"the stack in {home.path} is up already: run `make down` first")
        program, files = _check(topology, [], say)
        prepare(home, say)
        write_all(files)
        record.write(home, _record(topology, program, os.getpid()))  # an exec keeps pid and session
        command = [word for word in supervisord_command(home, INTERPRETER) if word != "-s"]
        os.chdir(topology.root)
        os.execve(command[0], command, _environment())


def render(topology: Topology, program: Path) -> list[File]:
    """Every configuration file of the stack, nginx's first if there is one."""
    user = "root" if os.geteuid() == 0 else None
    proxy = []
    if topology.has_proxy:
        watched = topology.proxy.balancer == "watched"
        proxy = render_nginx(topology, user, nginx.find_modules(program) if watched else None)
    return [
        *proxy,
        *render_supervisor(topology, program, INTERPRETER, user),
        render_watch(topology, INTERPRETER),
    ]


def _check(topology: Topology, own: list[int], say: Say) -> tuple[Path, list[File]]:
    """Fail early: check the host, find nginx, render everything, let nginx judge its part.

    Nothing has changed when this returns or raises. The ports of the pids `own` count as free.
    """
    home = Home(topology.home)
    if wrong := record.parsed(home)[1]:
        say(f"{wrong}; nothing of the stack runs, so it counts as none")
    preflight.check(topology, own)
    for line in (*preflight.notes(topology), *preflight.warnings(topology)):
        say(line)
    program = Path()
    if topology.has_proxy:
        program = nginx.find_nginx(topology.proxy.program, os.environ.get("PATH", ""))
    make_folders(home)
    files = render(topology, program)
    if topology.has_proxy:
        nginx.test_draft(program, home, files[0].text)
    return program, files


def _start(topology: Topology, program: Path, files: list[File], say: Say) -> None:
    home = Home(topology.home)
    prepare(home, say)
    write_all(files)
    proxy = ", nginx" if topology.has_proxy else ""
    say(f"starting supervisord{proxy} and {len(topology.instances())} instances")
    try:
        started = _start_supervisord(topology, program)
        _wait_ready(topology, started, lambda name: say(f"  ready: {name}"))
    except BaseException:
        with signals_deferred():  # half a stop would leave a stack without its watchdog
            say("stopping what had started")
            if begun := record.read(home):
                Stack.of(begun).stop()
        raise


def _start_supervisord(topology: Topology, nginx: Path) -> Record:
    """Start supervisord in a session of its own, write its record, and wait until it answers."""
    home = Home(topology.home)
    printed = home.log / "supervisord.out"  # until it has its log
    flags = os.O_WRONLY | os.O_TRUNC
    with signals_deferred(), os.fdopen(no_link(printed, flags), "wb") as out:
        child = subprocess.Popen(
            supervisord_command(home, INTERPRETER),
            cwd=topology.root,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        started = _record(topology, nginx, child.pid)
        try:
            record.write(home, started)
        except BaseException:
            kill(started.members)
            raise
    supervisord = Supervisord(home.supervisor_socket)
    wait_until(lambda: supervisord.answers() or child.poll() is not None, BOOT_S)
    if (code := child.poll()) is not None:
        raise StartError(f"supervisord did not start (it ended with {code}):", *tail(printed))
    if not supervisord.answers():
        wrong = f"supervisord does not answer after {BOOT_S} s:"
        raise StartError(wrong, *tail(home.supervisord_log))
    return started


def _record(topology: Topology, nginx: Path, pid: int) -> Record:
    """The record of a stack whose first supervisord is, or will be, the process `pid`."""
    leader = proc.find(pid)
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
        may_duplicate=proc.may_duplicate(),
    )


def _environment() -> dict[str, str]:
    """A short and known one: what runs must not depend on the shell of `make up`."""
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
    }


# Waiting until all of it answers: for each name how to ask it, and how many seconds it may take.

Awaited = dict[str, tuple[Callable[[], object], float]]


def _wait_ready(topology: Topology, started: Record, ready: Say) -> None:
    """Wait for nginx, for every instance by name, and for every service at the public listener.

    `ready` is told each name as soon as it has answered.
    """
    home = Home(topology.home)
    waiting: Awaited = {}
    if topology.has_proxy:
        waiting[NGINX] = partial(generation, home.internal_socket), BOOT_S
    if topology.file.stack.watch:
        waiting[WATCH] = partial(leader, home, WATCH), BOOT_S
    for one in topology.instances():
        boot_s = topology.services[one.service].boot_s
        waiting[one.name] = partial(instance_ready, topology, one), boot_s
    _wait(home, started, waiting, ready)
    close_to_others(home.internal_socket)  # the watchdog, if there is one, has done so
    if topology.hosts.role == "all":
        # Last: a probe of a dead route is a failed request.
        routes: Awaited = {
            f"{topology.url}{service.routes[0]}": (partial(_routed, topology, name), service.boot_s)
            for name, service in topology.services.items()
        }
        _wait(home, started, routes, ready)


def _routed(topology: Topology, service: str) -> bool:
    """Whether an instance of this service answers its first route at the public listener."""
    connection = HTTPConnection(topology.url.removeprefix("http://"), timeout=ANSWER_S)
    answer = ask(connection, topology.services[service].routes[0], "HEAD")
    return answer.instance in {instance.name for instance in topology.instances(service)}


def _wait(home: Home, started: Record, waiting: Awaited, ready: Say) -> None:
    start = now()
    while waiting:
        for name in [name for name, (answers, _) in waiting.items() if answers()]:
            del waiting[name]
            ready(name)
        if not started.leads():
            raise StartError("supervisord has died:", *tail(home.supervisord_log))
        again = restarts(home)
        supervisord = Supervisord(home.supervisor_socket)
        for program in supervisord.programs() if any(again.values()) else ():
            # One that has died twice while we waited will not become ready by waiting longer.
            if program.state in FAILING and again.get(program.name):
                raise StartError(
                    f"{program.name} keeps crashing ({program.state}: {program.description}); it "
                    "printed:",
                    *tail(home.log / f"{program.name}.log"),
                )
        lines = []
        for name in [name for name, (_, boot_s) in waiting.items() if now() - start > boot_s]:
            log = f"{name}.log" if "/" not in name else "nginx.error.log"
            lines.append(f"{name} did not answer within {waiting[name][1]:g} s; {log} ends:")
            lines += tail(home.log / log)
        if lines:
            raise StartError(*lines)
        pause(0.02)
