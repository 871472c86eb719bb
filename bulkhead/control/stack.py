"""The life of a stack: up, restart, down. Each completes or takes back what it began."""

import os
from pathlib import Path
from typing import NoReturn

from bulkhead.control import markers, nginx, preflight, record
from bulkhead.control.interrupts import held
from bulkhead.control.lock import lock
from bulkhead.control.record import Record
from bulkhead.control.start import (
    INTERPRETER,
    Say,
    become_supervisord,
    start_supervisord,
    wait_ready,
)
from bulkhead.control.stop import stop
from bulkhead.errors import StateError
from bulkhead.render.files import File, differing, write_all
from bulkhead.render.nginx import render_nginx
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import render_supervisor
from bulkhead.render.watch import render_watch
from bulkhead.topology.model import Topology


def up(topology: Topology, say: Say) -> bool:
    """Start the stack and wait until all of it has answered; False when it was up already.

    Raises:
        StateError: a port is taken, or the stack is up with another configuration.
        ConfigError: nginx refuses what was rendered.
        StartError: something did not become ready; nothing was left running.
    """
    home = Home(topology.home)
    with lock(home):
        found = record.settled(home)
        if found and found.leads():
            home.stopping.unlink(missing_ok=True)  # a `down` that was cut short goes no further
            _refuse_changes(topology, found)
            wait_ready(topology, found, lambda _name: None)
            return False
        if found and (left := found.members()):
            say(f"supervisord had died; stopping the {len(left)} processes it left behind")
            stop(found)
        preflight.check(topology, [])
        program, files = _test(topology)
        _start(topology, program, files, say)
        return True


def serve(topology: Topology) -> NoReturn:
    """Become the supervisord of the stack: for an init system or a container to hold.

    As `up` without its patience: who started us asks by `status` whether all of it is ready, and
    ends it by SIGTERM.

    Raises:
        StateError: a port is taken, the stack is up, or this process does not lead a session.
        ConfigError: nginx refuses what was rendered.
    """
    home = Home(topology.home)
    if os.getsid(0) != os.getpid():
        raise StateError(
            "serve must be the first process of its session, as a container or an init system "
            "starts it; by hand: setsid -w bulkhead serve"
        )
    with lock(home):
        found = record.settled(home)
        if found and found.members():
            raise StateError(f"the stack in {home.path} is up already: run `make down` first")
        preflight.check(topology, [])
        program, files = _test(topology)
        preflight.prepare(home)
        markers.prepare(home)
        write_all(files)
        become_supervisord(topology, program)


def restart(topology: Topology, say: Say) -> None:
    """Stop the stack if it is up, and start it. What can be refused is refused before the stop.

    Raises:
        StateError, ConfigError: as `up`; the running stack goes on.
        StartError: as `up`; the stack is down.
    """
    home = Home(topology.home)
    with lock(home):
        found = record.read(home)
        own = found.members() if found else []
        preflight.check(topology, [one.pid for one in own])
        program, files = _test(topology)
        if found and own:
            say(f"stopping {len(own)} processes")
            stop(found)
        _start(topology, program, files, say)


def down(home: Home, say: Say) -> bool:
    """Stop everything and leave no process, socket or port; False when nothing ran."""
    with lock(home):
        found = record.read(home)
        if found is None:
            return False
        if not found.members():  # all of it was killed at once
            markers.clear(home)
            record.remove(home)
            return False
        say(f"stopping {len(found.members())} processes")
        stop(found)
        return True


def render(topology: Topology, program: Path) -> list[File]:
    """Every configuration file of the stack, nginx's first if there is one."""
    user = "root" if os.geteuid() == 0 else None
    watched = topology.proxy.balancer == "watched"
    proxy = []
    if topology.has_proxy:
        modules = nginx.find_modules(program) if watched else None
        proxy = render_nginx(topology, user, modules)
    return [
        *proxy,
        *render_supervisor(topology, program, INTERPRETER, user),
        render_watch(topology, INTERPRETER),
    ]


def _test(topology: Topology) -> tuple[Path, list[File]]:
    """Find nginx, render everything, and let nginx judge its part, before anything changes."""
    home = Home(topology.home)
    program = Path()
    if topology.has_proxy:
        program = nginx.find_nginx(topology.proxy.program, os.environ.get("PATH", ""))
    preflight.make_folders(home)
    files = render(topology, program)
    if topology.has_proxy:
        nginx.test_draft(program, home, files[0].text).unlink()
    return program, files


def _start(topology: Topology, program: Path, files: list[File], say: Say) -> None:
    preflight.prepare(Home(topology.home))
    markers.prepare(Home(topology.home))
    write_all(files)
    proxy = ", nginx" if topology.has_proxy else ""
    say(f"starting supervisord{proxy} and {len(topology.instances())} instances")
    try:
        started = start_supervisord(topology, program)
        wait_ready(topology, started, lambda name: say(f"  ready: {name}"))
    except BaseException:
        with held():  # half a stop would leave a stack that nobody watches any more
            say("stopping what had started")
            if begun := record.read(Home(topology.home)):
                stop(begun)
        raise


def _refuse_changes(topology: Topology, running: Record) -> None:
    changed = differing(render(topology, Path(running.nginx)))
    if changed:
        names = " and ".join(path.name for path in changed)
        raise StateError(
            f"the stack is up, but {topology.source} and the templates now give another {names}: "
            "run `make reload` to apply it"
        )
