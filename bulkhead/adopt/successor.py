"""A program whose leader was killed, and whose workers live on, gets a new leader.

nginx's orphaned workers go on serving; so do gunicorn's, for a while. Meanwhile nobody else can
bind to the port, and nobody may close it: connections that wait in the kernel's queue would be
reset, and new ones refused. So the new leader inherits the listening sockets: either accepts their
connections, and they live until both have closed them. `take` needs no help of the orphans, but
pidfd_getfd(2); `ask` needs no permission: one of nginx's workers sends them
(nginx/lua/listeners.lua). nginx inherits them by `NGINX=3;4;`, as another binary of itself would,
and gunicorn by `LISTEN_FDS` and `LISTEN_PID` (sd_listen_fds(3)).

Each group of orphans is marked (run/orphans/PGID): the watchdog ends it once the new leader serves.
"""

import errno
import fcntl
import json
import os
import signal
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from stat import S_ISSOCK

from bulkhead import http_probe
from bulkhead.atomic import BROKEN, replace
from bulkhead.clock import wait_until
from bulkhead.proc import HeldProcess, Process, duplicate, find, group, send, stat
from bulkhead.render.paths import Home

FIRST = 3  # where sd_listen_fds(3) has the first descriptor
ANSWER_S = 2.0  # a worker that is stopped, or closes its listeners at this moment, says nothing
ASKED = 3  # so many workers, one after another
MOST = 32  # as nginx/lua/listeners.lua has it


@dataclass(frozen=True)
class ProgramSpec:
    """The entry of watch.json for one program, as far as its successor needs it."""

    kind: str = ""  # nginx, gunicorn, tornado, watch; empty when the file does not know it
    address: str = ""
    grace_s: float = 10.0
    watched: bool = False  # whether there is a watchdog, to retire orphans


def read_spec(run: str, name: str) -> ProgramSpec:
    """The program of this name; a program must start even if the file is broken."""
    home = Home(Path(run).parent)
    try:
        conf = json.loads(home.watch_conf.read_text())
        programs = {program["name"]: program for program in conf["programs"]}
        kind, grace_s = str(programs[name]["kind"]), float(programs[name]["grace_s"])
        address = home.internal_socket if kind == "nginx" else programs[name]["address"]
        return ProgramSpec(kind, str(address), grace_s, "watch" in programs)
    except (OSError, *BROKEN) as error:
        print(f"{name}: {home.watch_conf}: {error!r}", flush=True)
        return ProgramSpec()


def succeed(run: str, name: str, command: Sequence[str], last: int) -> None:
    """Become the leader of a program by exec; `last` is the pid of its last one, which is dead."""
    home, spec = Home(Path(run).parent), read_spec(run, name)
    groups = living_orphans(home, name, last)
    orphans = list(chain.from_iterable(groups.values()))
    inherited = inherit(home, name, spec, orphans)
    if inherited is None or not spec.watched:
        for orphan in orphans:
            send(orphan, signal.SIGQUIT if spec.kind == "nginx" else signal.SIGTERM)
    if inherited is None:  # the new leader must bind to the address itself
        if not wait_until(lambda: not listens(spec.address), spec.grace_s):
            for orphan in orphans:
                send(orphan, signal.SIGKILL)
        inherited = []
    elif spec.watched:
        for number in groups:
            replace(home.orphans / str(number), name + "\n", durable=False)
    for number, members in groups.items():
        pids = " ".join(str(process.pid) for process in members)
        print(f"{name}: pid {number} has died; of its process group {pids} live", flush=True)
    if name == "nginx" and not any(map(is_unix, inherited)):
        home.internal_socket.unlink(missing_ok=True)  # nginx cannot bind to what is left of one
    me = stat(os.getpid())
    assert me, "this process lives"
    # As supervisor/launch notes who leads the program.
    replace(home.programs / name, f"{os.getpid()} {me.start_ticks}\n", durable=False)
    hand_over(spec, inherited)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would keep that
    os.execvp(command[0], list(command))


def living_orphans(home: Home, name: str, last: int) -> dict[int, list[Process]]:
    """The orphans of a program by process group, including those of earlier leaders."""
    numbers = {last} if last else set()
    for marker in home.orphans.glob("[0-9]*"):
        with suppress(FileNotFoundError):  # the watchdog has just removed it
            if marker.read_text(errors="replace").strip() == name:
                numbers.add(int(marker.name))
    groups = {}
    for number in sorted(numbers):
        if members := _members(number):
            groups[number] = members
        else:
            (home.orphans / str(number)).unlink(missing_ok=True)
    return groups


def _members(number: int) -> list[Process]:
    """The members of a group without a leader. With one, the number belongs to another program."""
    if find(number):
        return []
    session, members = os.getsid(0), group(number)
    return [one for one in members if (found := stat(one.pid)) and found.session == session]


def inherit(
    home: Home, name: str, spec: ProgramSpec, orphans: Sequence[Process]
) -> list[socket.socket] | None:
    """The listening sockets of the orphans that the new leader can use; None if out of reach."""
    try:
        taken = take(orphans)
    except OSError as error:  # mostly of pidfd_getfd: see docs/supervision.md
        print(f"{name}: cannot take the sockets of the orphans: {error}", flush=True)
        sent = ask(home) if spec.kind == "nginx" else []
        if sent:
            print(f"{name}: one of the orphans has sent its {len(sent)} sockets", flush=True)
        return sent or None
    if spec.kind == "nginx":  # it finds its own addresses among all of them
        return taken
    # A gunicorn worker has an admin socket too.
    return [one for one in taken if spec.kind == "gunicorn" and address(one) == spec.address]


def take(processes: Iterable[Process]) -> list[socket.socket]:
    """A duplicate of each listening socket of these processes; OSError if that is not allowed."""
    by_inode: dict[int, socket.socket] = {}
    for process in processes:
        for listening in _listening(process):
            inode = os.fstat(listening.fileno()).st_ino
            if by_inode.setdefault(inode, listening) is not listening:
                listening.close()
    return list(by_inode.values())


def ask(home: Home) -> list[socket.socket]:
    """The listening sockets of nginx's workers, sent by one of them; none if none can.

    All of them or nothing: nginx binds to what it has not inherited, and that is taken.
    """
    for _ in range(ASKED):
        sent = _ask(home)
        if set(map(is_unix, sent)) == {True, False}:  # the internal listener and the public one
            return sent
        for listening in sent:
            listening.close()
    return []


def _ask(home: Home) -> list[socket.socket]:
    home.heir_socket.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as heir:
        try:
            heir.bind(str(home.heir_socket))
            connection = http_probe.UnixConnection(home.internal_socket, ANSWER_S)
            if http_probe.ask(connection, "/listeners", "POST").status != 204:
                return []
            descriptors = socket.recv_fds(heir, 1, MOST, socket.MSG_CMSG_CLOEXEC)[1]
        except OSError:
            return []
        finally:
            home.heir_socket.unlink(missing_ok=True)
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]


def _listening(process: Process) -> Iterator[socket.socket]:
    """Duplicates of its listening sockets, lowest descriptor first; none when it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError), closing(HeldProcess(process)) as held:
        for number in sorted(map(int, os.listdir(f"/proc/{process.pid}/fd"))):  # noqa: PTH208
            try:
                copy = duplicate(held.pidfd, number)
            except OSError as error:
                if error.errno == errno.EBADF:  # closed meanwhile
                    continue
                raise
            # Only the duplicate can say what it is.
            if not S_ISSOCK(os.fstat(copy).st_mode):
                os.close(copy)
                continue
            found = socket.socket(fileno=copy)
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield found
            else:
                found.close()


def is_unix(listening: socket.socket) -> bool:
    """Whether it is a unix socket: of nginx's, the internal listener."""
    return listening.family == socket.AF_UNIX


def address(listening: socket.socket) -> str:
    """Where it listens: `host:port`, `[host]:port`, or the path of a unix socket."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return str(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"


def listens(at: str) -> bool:
    """Whether a process listens at an address, as `address` gives it."""
    if not at.startswith("/"):
        host, _, port = at.rpartition(":")
        return port.isdigit() and http_probe.accepts(host, int(port))
    with socket.socket(socket.AF_UNIX) as trial:
        trial.settimeout(http_probe.CONNECT_S)
        return trial.connect_ex(at) == 0


def hand_over(spec: ProgramSpec, inherited: Sequence[socket.socket]) -> None:
    """Let the sockets survive the exec, and name them in the environment."""
    if not inherited:
        return
    if spec.kind == "nginx":
        for listening in inherited:
            listening.set_inheritable(True)
        os.environ["NGINX"] = "".join(f"{listening.fileno()};" for listening in inherited)
    else:
        # To high numbers first: one socket may have a number that another is to get.
        numbers = [listening.fileno() for listening in inherited]
        high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 64) for number in numbers]
        for number, descriptor in enumerate(high, FIRST):
            os.dup2(descriptor, number)
        os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(high))}
    for listening in inherited:
        listening.detach()
