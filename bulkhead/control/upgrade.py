"""Another nginx binary, in place: a new master takes over from the old one, socket by socket."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL

from bulkhead.clock import now
from bulkhead.control import handover, nginx, process, record
from bulkhead.control.interrupts import held
from bulkhead.control.lock import lock
from bulkhead.control.start import Say
from bulkhead.errors import MissingError, StateError
from bulkhead.render.paths import Home


@dataclass(frozen=True)
class Upgrade:
    """Who led nginx before and who leads it now."""

    old_pid: int
    old_version: str
    new_pid: int
    new_version: str
    took_s: float  # until the last worker of the old one had ended


def upgrade(home: Home, say: Say) -> Upgrade:
    """Let the nginx that is on disk now take over from the one that runs, under load.

    The old master is killed, not asked: one that is asked would close the listening sockets. Its
    workers do not need it to go on serving.

    Raises:
        StateError: the stack is not up, has no watchdog to retire the old workers, or no nginx.
        ConfigError: the nginx on disk refuses the configuration; nothing has changed.
        StartError: the new one does not serve; the old workers still do.
    """
    with lock(home):
        running = record.require(home)
        topology = running.resolved()
        if not topology.has_proxy:
            raise StateError('this host has no nginx (hosts.role = "application")')
        if not topology.file.stack.watch:
            raise StateError(
                "stack.watch = false: nobody would let the old workers go; `make restart` brings "
                "the new nginx, with a gap"
            )
        program = Path(running.nginx)
        nginx.test_configuration(program, home.path, home.nginx_conf)
        old = handover.master(home)
        was, wanted = version(Path(f"/proc/{old.pid}/exe")), version(program)
        say(f"nginx {was} (pid {old.pid}) -> {wanted}: {program} accepts the configuration")
        began = now()
        with held():  # half-way there is nothing to go back to
            new = handover.succeed(home, topology.proxy, old, lambda: _kill(old))
        found = version(Path(f"/proc/{new.pid}/exe"))
        return Upgrade(old.pid, was, new.pid, found, now() - began)


def _kill(old: process.Process) -> None:
    process.send(old, SIGKILL)


def version(program: Path) -> str:
    """What an nginx says it is: `1.22.1`. A running one can be asked though its file is replaced.

    Raises:
        MissingError: it cannot be run.
    """
    try:
        said = subprocess.run(
            [program, "-v"], capture_output=True, text=True, timeout=10, check=False
        ).stderr
    except OSError as error:
        raise MissingError(f"{program}: cannot be run: {error.strerror}") from error
    found = re.search(r"nginx/(\S+)", said)
    return found[1] if found else "of unknown version"
