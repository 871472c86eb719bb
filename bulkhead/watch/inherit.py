"""A program whose leader was killed, and whose other processes live on, gets a new leader.

nginx's workers serve on without their master; so do gunicorn's, for a moment. Nobody can bind to
the port meanwhile, and nobody may close it: connections that wait in the kernel's queue would be
reset, and new ones refused. So the new leader inherits the listening sockets, taken out of one of
the strays, in the way that its kind has for it:

- nginx: `NGINX=3;4;`, by which it hands its sockets to another binary of itself;
- gunicorn: `LISTEN_FDS` and `LISTEN_PID` (sd_listen_fds(3)).

Each group of strays is marked, and the watchdog lets them go once the new leader serves.
"""

import fcntl
import json
import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bulkhead.clock import wait_until
from bulkhead.control.process import Process, find, send, stat
from bulkhead.render.files import File, write_all
from bulkhead.render.paths import Home
from bulkhead.watch.kernel import group
from bulkhead.watch.sockets import address, take

FIRST = 3  # where sd_listen_fds(3) has the first descriptor
CONNECT_S = 0.25


@dataclass(frozen=True)
class Spec:
    """What watch.json says of one program, as far as an heir needs it."""

    kind: str = ""  # nginx, gunicorn, tornado, watch; empty when the file does not know it
    address: str = ""
    grace_s: float = 10.0
    watched: bool = False  # whether there is a watchdog, to let strays go


def read_spec(run: str, name: str) -> Spec:
    """The program of this name; a program must start even if the file is broken."""
    home = Home(Path(run).parent)
    try:
        programs = {one["name"]: one for one in json.loads(home.watch_conf.read_text())["programs"]}
        one = programs[name]
        address = str(home.internal_socket) if one["kind"] == "nginx" else one["address"]
        return Spec(one["kind"], address, one["grace_s"], "watch" in programs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{name}: {home.watch_conf}: {error!r}", flush=True)
        return Spec()


def become(run: str, name: str, command: Sequence[str], last: int) -> None:
    """Become the leader of a program by exec. `last` is the pid of the one before, which is dead.

    Raises:
        OSError: the command cannot be run.
    """
    home, spec = Home(Path(run).parent), read_spec(run, name)
    strays = living(home, name, last)
    heirlooms: list[socket.socket] = []
    try:
        heirlooms = wanted(spec, take(one for members in strays.values() for one in members))
    except PermissionError as error:
        print(f"{name}: cannot take the sockets of the strays: {error}", flush=True)
        end(spec, strays)
    else:
        leave(home, name, spec, strays)
    for number, members in strays.items():
        pids = " ".join(str(one.pid) for one in members)
        print(f"{name}: pid {number} has died; of its process group {pids} live", flush=True)
    if name == "nginx" and not any(map(is_unix, heirlooms)):
        home.internal_socket.unlink(missing_ok=True)  # nginx cannot bind to what is left of one
    note(home, name)
    hand_over(spec, heirlooms)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would keep that
    os.execvp(command[0], list(command))


def living(home: Home, name: str, last: int) -> dict[int, list[Process]]:
    """The strays of a program by process group, those of its earlier leaders too."""
    numbers = {last} if last else set()
    for marker in home.strays.glob("[0-9]*"):
        with suppress(FileNotFoundError):  # the watchdog has just found nothing left of it
            if marker.read_text().strip() == name:
                numbers.add(int(marker.name))
    found = {number: _members(number) for number in sorted(numbers)}
    for number in [number for number, members in found.items() if not members]:
        (home.strays / str(number)).unlink(missing_ok=True)
        del found[number]
    return found


def _members(number: int) -> list[Process]:
    """Of a group whose leader is dead; if there is a live one, the number has passed to others."""
    if find(number):
        return []
    session = os.getsid(0)
    stats = ((one, stat(one.pid)) for one in group(number))
    return [one for one, found in stats if found and found.session == session]


def wanted(spec: Spec, listening: Sequence[socket.socket]) -> list[socket.socket]:
    """Those that the kind of program can take over.

    All of nginx's, which says itself where it listens. A gunicorn worker has an admin socket too.
    """
    if spec.kind == "nginx":
        return list(listening)
    return [one for one in listening if spec.kind == "gunicorn" and address(one) == spec.address]


def is_unix(one: socket.socket) -> bool:
    """Whether it is a unix socket: of nginx's, the internal listener."""
    return one.family == socket.AF_UNIX


def leave(home: Home, name: str, spec: Spec, strays: dict[int, list[Process]]) -> None:
    """Let the strays go: it is the watchdog that does, or without one they must end now."""
    if not spec.watched:
        tell(spec, strays)
        return
    write_all(File(home.strays / str(number), name + "\n") for number in strays)


def tell(spec: Spec, strays: dict[int, list[Process]]) -> None:
    """Tell the strays to finish what they have, and end."""
    for members in strays.values():
        for one in members:
            send(one, signal.SIGQUIT if spec.kind == "nginx" else signal.SIGTERM)


def end(spec: Spec, strays: dict[int, list[Process]]) -> None:
    """Wait until nobody listens where the new leader will, and end whoever does not stop that."""
    tell(spec, strays)
    if not wait_until(lambda: not listens(spec.address), spec.grace_s):
        for members in strays.values():
            for one in members:
                send(one, signal.SIGKILL)


def listens(where: str) -> bool:
    """Whether somebody listens at an address, as `address` gives it."""
    host, _, port = where.rpartition(":")
    unix = where.startswith("/")
    family = socket.AF_UNIX if unix else socket.AF_INET6 if "[" in host else socket.AF_INET
    with socket.socket(family) as trial:
        trial.settimeout(CONNECT_S)
        try:
            trial.connect(where if unix else (host.strip("[]"), int(port)))
        except (OSError, ValueError):
            return False
        return True


def note(home: Home, name: str) -> None:
    """Note that this process leads the program, as supervisor/launch does."""
    found = stat(os.getpid())
    assert found, "this process lives"
    write_all([File(home.programs / name, f"{os.getpid()} {found.start_ticks}\n")])


def hand_over(spec: Spec, heirlooms: Sequence[socket.socket]) -> None:
    """Let the sockets survive the exec, and say in the environment which they are."""
    if not heirlooms:
        return
    if spec.kind == "nginx":
        for one in heirlooms:
            one.set_inheritable(True)
        os.environ["NGINX"] = "".join(f"{one.fileno()};" for one in heirlooms)
    else:
        # Out of the way first: one of them may have a number that another is to get.
        high = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 64) for one in heirlooms]
        for number, descriptor in enumerate(high, FIRST):
            os.dup2(descriptor, number)
        os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(high))}
    for one in heirlooms:
        one.detach()
