"""Where a process can be told to misbehave: one unix socket for each process that serves.

Standard library only, shared by every service, and small, for every start pays for it; what is
needed to answer there (services/admin.py) is imported by the first request. The socket is in a
folder of mode 0700 and there is no port: only the user who runs the stack reaches it, and nothing
leads to it from nginx.
"""

import socket
from pathlib import Path

from services.identity import Identity

BACKLOG = 16
MAX_BODY = 64 * 1024


def why_not_start(folder: str, instance: str) -> str:
    """Why `instance` must not start, in one line; empty when it may."""
    crash = Path(folder, f"{instance}.crash")
    if folder and not crash.parent.is_dir():
        return f"BULKHEAD_ADMIN_DIR = {folder!r}: no such folder"
    if folder and crash.exists():
        return f"{crash} says that {instance} must not start; remove it"
    return ""


def listen(folder: str, who: Identity) -> socket.socket:
    """The listening admin socket `<instance>.<pid>.sock` of this process.

    Raises:
        OSError: the folder is not there or not ours, or the path is too long for a socket.
    """
    remove_stale(Path(folder), who.instance)
    path = Path(folder, f"{who.instance}.{who.pid}.sock")
    path.unlink(missing_ok=True)  # of a dead process that had our pid
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def remove(listening: socket.socket) -> None:
    """Remove the file of a listening socket, which itself is closed by who serves it."""
    Path(listening.getsockname()).unlink(missing_ok=True)


def remove_stale(folder: Path, instance: str) -> None:
    """Remove what processes of `instance` left behind when they were killed."""
    for left in folder.glob(f"{instance}.*.sock"):
        pid = left.name.split(".")[-2]
        if not Path("/proc", pid).exists():
            left.unlink(missing_ok=True)
