"""The life of a stack: up, reload, down. Each either completes or takes back what it began."""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkhead.control import nginx, preflight, record
from bulkhead.control.record import Record
from bulkhead.control.start import start_supervisord, wait_ready
from bulkhead.control.stop import stop
from bulkhead.errors import StateError
from bulkhead.render.files import File, differing, write_all
from bulkhead.render.nginx import render_nginx
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import render_supervisor
from bulkhead.topology.model import Topology

Say = Callable[[str], None]


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
            wait_ready(topology, _quiet)
            return False
        if found and (left := found.members()):
            say(f"supervisord had died; stopping the {len(left)} processes it left behind")
            stop(found)
        preflight.check(topology)
        program = nginx.find_nginx(topology.proxy.program, os.environ.get("PATH", ""))
        preflight.prepare(topology)
        write_all(render(topology, program))
        nginx.test_configuration(program, home.path, home.nginx_conf)
        say(f"starting supervisord, nginx and {len(topology.instances())} instances")
        started = start_supervisord(topology, program)
        try:
            wait_ready(topology, lambda name: say(f"  ready: {name}"))
        except BaseException:
            say("stopping what had started")
            stop(started)
            raise
        return True


def reload(topology: Topology) -> bool:
    """Let nginx take over a changed configuration; False when nothing has changed.

    Raises:
        StateError: the stack is not up, or the change reaches further than nginx.
        ConfigError: nginx refuses the new configuration; the old one stays in force.
        StartError: nginx did not take it over in time.
    """
    home = Home(topology.home)
    with _lock(home):
        running = record.require(home)
        files = render(topology, Path(running.nginx))
        changed = differing(files)
        if not changed:
            return False
        if changed != [home.nginx_conf]:
            raise StateError(
                "this change reaches supervised processes, not only nginx: "
                "run `make restart` to apply it"
            )
        nginx.take_over(Path(running.nginx), home, files[0].text)
        return True


def down(topology: Topology, say: Say) -> bool:
    """Stop everything and leave no process, socket or port; False when nothing ran."""
    home = Home(topology.home)
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
    interpreter = Path(sys.executable)
    return render_nginx(topology, user) + render_supervisor(topology, program, interpreter, user)


def _refuse_changes(topology: Topology, running: Record) -> None:
    changed = differing(render(topology, Path(running.nginx)))
    if changed:
        names = " and ".join(path.name for path in changed)
        how = "reload" if changed == [Home(topology.home).nginx_conf] else "restart"
        raise StateError(
            f"the stack is up, but {topology.source} now gives another {names}: "
            f"run `make {how}` to apply it"
        )


def _quiet(name: str) -> None:
    del name


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
