"""The life of a stack: up, restart, reload, down. Each completes or takes back what it began."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkhead.control import nginx, preflight, record
from bulkhead.control.record import Record
from bulkhead.control.start import Say, start_supervisord, wait_ready
from bulkhead.control.stop import stop
from bulkhead.errors import StateError
from bulkhead.render.files import File, differing, write_all
from bulkhead.render.nginx import render_nginx
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import render_supervisor
from bulkhead.topology.model import Topology


def up(topology: Topology, say: Say) -> bool:
    """Start the stack and wait until all of it has answered; False when it was up already.

    Raises:
        StateError: a port is taken, or the stack is up with another configuration.
        ConfigError: nginx refuses what was rendered.
        StartError: something did not become ready; nothing was left running.
    """
    home = Home(topology.home)
    with _lock(home):
        found = record.read(home)
        if found and found.leads():
            _refuse_changes(topology, found)
            wait_ready(topology, found, lambda _name: None)
            return False
        if found and (left := found.members()):
            say(f"supervisord had died; stopping the {len(left)} processes it left behind")
            stop(found)
        preflight.check(topology, [])
        program = _test(topology)
        _start(topology, program, say)
        return True


def restart(topology: Topology, say: Say) -> None:
    """Stop the stack if it is up, and start it. What can be refused is refused before the stop.

    Raises:
        StateError, ConfigError: as `up`; the running stack goes on.
        StartError: as `up`; the stack is down.
    """
    home = Home(topology.home)
    with _lock(home):
        found = record.read(home)
        own = found.members() if found else []
        preflight.check(topology, [one.pid for one in own])
        program = _test(topology)
        if found and own:
            say(f"stopping {len(own)} processes")
            stop(found)
        _start(topology, program, say)


def reload(topology: Topology) -> None:
    """Let nginx read its configuration again; no request under way is cut short.

    Raises:
        StateError: the stack is not up, nginx is not running, or a change reaches further.
        ConfigError: nginx refuses the new configuration; the old one stays in force.
        StartError: nginx did not take it over in time.
    """
    home = Home(topology.home)
    with _lock(home):
        running = record.require(home)
        conf, *others = render(topology, Path(running.nginx))
        if differing(others):
            raise StateError(
                "this change reaches supervised processes, not only nginx: "
                "run `make restart` to apply it"
            )
        nginx.take_over(running, home, conf.text)


def down(home: Home, say: Say) -> bool:
    """Stop everything and leave no process, socket or port; False when nothing ran."""
    with _lock(home):
        found = record.read(home)
        if found is None or not found.members():
            record.remove(home)
            return False
        say(f"stopping {len(found.members())} processes")
        stop(found)
        return True


def render(topology: Topology, program: Path) -> list[File]:
    """Every configuration file of the stack, nginx's first."""
    user = "root" if os.geteuid() == 0 else None
    # Not sys.executable: `python` and `python3` are the same one, and must render the same.
    interpreter = Path(sys.prefix) / "bin" / "python"
    return render_nginx(topology, user) + render_supervisor(topology, program, interpreter, user)


def _test(topology: Topology) -> Path:
    """Find nginx and let it judge what is rendered, before anything changes."""
    home = Home(topology.home)
    program = nginx.find_nginx(topology.proxy.program, os.environ.get("PATH", ""))
    preflight.make_folders(home)
    nginx.test_draft(program, home, render(topology, program)[0].text).unlink()
    return program


def _start(topology: Topology, program: Path, say: Say) -> None:
    preflight.prepare(Home(topology.home))
    write_all(render(topology, program))
    say(f"starting supervisord, nginx and {len(topology.instances())} instances")
    try:
        started = start_supervisord(topology, program)
        wait_ready(topology, started, lambda name: say(f"  ready: {name}"))
    except BaseException:
        say("stopping what had started")
        if begun := record.read(Home(topology.home)):
            stop(begun)
        raise


def _refuse_changes(topology: Topology, running: Record) -> None:
    changed = differing(render(topology, Path(running.nginx)))
    if changed:
        names = " and ".join(path.name for path in changed)
        how = "reload" if changed == [Home(topology.home).nginx_conf] else "restart"
        raise StateError(
            f"the stack is up, but {topology.source} and the templates now give another {names}: "
            f"run `make {how}` to apply it"
        )


@contextmanager
def _lock(home: Home) -> Iterator[None]:
    """One command at a time may change a stack."""
    home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home.run / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StateError(
                f"another command (pid {file.read().strip()}) is changing this stack; "
                "wait for it to end"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
