"""Listening sockets, taken out of another process while it goes on serving them.

pidfd_getfd(2) makes a duplicate of another process's descriptor. Both then hold the same socket:
whoever connects is accepted by either, and it lives until both have closed it. It is allowed to
whom ptrace(2) would be: the same user, where nothing like Yama's ptrace_scope forbids it.
"""

import ctypes
import errno
import os
import socket
from collections.abc import Iterable
from contextlib import suppress

from bulkhead.control.process import Process
from bulkhead.watch.kernel import hold

# The number of the system call, the same on every architecture; older libcs have no name for it.
PIDFD_GETFD = 438

_libc = ctypes.CDLL(None, use_errno=True)


def take(processes: Iterable[Process]) -> list[socket.socket]:
    """A duplicate of every listening socket of these processes, each socket once.

    Raises:
        PermissionError: the kernel does not allow it.
    """
    found: dict[int, socket.socket] = {}
    for one in processes:
        for listening in _listening(one):
            inode = os.fstat(listening.fileno()).st_ino
            if found.setdefault(inode, listening) is not listening:
                listening.close()
    return list(found.values())


def address(listening: socket.socket) -> str:
    """Where it listens: `host:port`, `[host]:port`, or the path of a unix socket."""
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return str(name)
    host, port = name[:2]
    return f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"


def duplicate(pidfd: int, descriptor: int) -> int:
    """A duplicate of a descriptor of the process that `pidfd` holds; an exec closes it.

    Raises:
        OSError: PermissionError, ProcessLookupError (it has ended), or EBADF (it is not open).
    """
    number: int = _libc.syscall(PIDFD_GETFD, pidfd, descriptor, 0)
    if number < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return number


def _listening(process: Process) -> list[socket.socket]:
    try:
        pidfd = hold(process)
    except ProcessLookupError:
        return []
    try:
        found = (_duplicate_listening(pidfd, number) for number in _sockets(process.pid))
        return [one for one in found if one]
    finally:
        os.close(pidfd)


def _duplicate_listening(pidfd: int, descriptor: int) -> socket.socket | None:
    """Only the duplicate can say whether it listens; one of a connection is closed again."""
    try:
        one = socket.socket(fileno=duplicate(pidfd, descriptor))
    except OSError as error:
        if error.errno in (errno.EBADF, errno.ESRCH):  # closed, or all of it has ended, meanwhile
            return None
        raise
    if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return one
    one.close()
    return None


def _sockets(pid: int) -> list[int]:
    """The descriptors of a process that are sockets, lowest first; none when it has ended.

    Raises:
        PermissionError: they are none of our business.
    """
    folder = f"/proc/{pid}/fd"
    found = []
    try:
        for name in os.listdir(folder):  # noqa: PTH208 - names only
            with suppress(FileNotFoundError):  # closed meanwhile
                if os.readlink(f"{folder}/{name}").startswith("socket:"):  # noqa: PTH115
                    found.append(int(name))
    except FileNotFoundError:
        return []
    return sorted(found)
