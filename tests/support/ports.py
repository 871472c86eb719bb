"""Free ports that no other test run takes: a lock file for each block, and a trial bind."""

import fcntl
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Below the kernel's ephemeral range (32768), where any outgoing connection may take a port.
FIRST, LAST, BLOCK = 20000, 32000, 40


@contextmanager
def free_ports(first: int = FIRST, last: int = LAST, size: int = BLOCK) -> Iterator[list[int]]:
    """`size` consecutive free ports from `first` on, held until the end of the context."""
    folder = Path(tempfile.gettempdir()) / "bulkhead-ports"
    folder.mkdir(exist_ok=True)
    for begin in range(first, last, size):
        with (folder / str(begin)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            ports = list(range(begin, begin + size))
            if all(map(is_free, ports)):
                yield ports
                return
    raise AssertionError("no block of free ports is left")


def is_free(port: int) -> bool:
    """Whether a server could bind to it now."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
