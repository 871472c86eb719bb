"""The socket on which processes say that they are ready and that their loops turn.

The words are those of sd_notify(3). Who speaks is not in the words: the kernel puts the sender's
pid on each datagram (SO_PASSCRED), and no process can lie about it.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), struct ucred)
ROOM = socket.CMSG_SPACE(CREDENTIALS.size)
LONGEST = 4096
BATCH = 256  # at most so many in one turn: a flood must not keep the watchdog from its other work


@dataclass(frozen=True)
class Beat:
    """One datagram, as far as it matters here."""

    pid: int
    ready: bool
    stopping: bool


class Ear:
    """The receiving end; one process at a time may have it (the watchdog's lock sees to that)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        # Whoever sends meanwhile meets the old socket or the new one, never none.
        fresh = path.with_name(f"{path.name}.new")
        fresh.unlink(missing_ok=True)
        self.socket.bind(str(fresh))
        fresh.rename(path)

    def hear(self) -> Iterator[Beat]:
        """What has arrived; never waits."""
        for _ in range(BATCH):
            try:
                text, extra, _, _ = self.socket.recvmsg(LONGEST, ROOM)
            except BlockingIOError:
                return
            pid = sender(extra)
            words = text.split(b"\n")
            if pid:
                yield Beat(pid, b"READY=1" in words, b"STOPPING=1" in words)

    def close(self) -> None:
        """Hear no more, and leave no socket behind."""
        self.socket.close()
        self._path.unlink(missing_ok=True)


def sender(extra: list[tuple[int, int, bytes]]) -> int:
    """The pid in what the kernel has put on a datagram; 0 when it has put none."""
    for level, kind, data in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return int(CREDENTIALS.unpack(data)[0])
    return 0
