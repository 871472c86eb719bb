"""Blocks of free ports that are larger than those of the tests."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import is_free

# Below the blocks of the tests (tests/support/ports.py), so that the two never meet.
FIRST, LAST, BLOCK = 12_000, 20_000, 80


@contextmanager
def free_block() -> Iterator[list[int]]:
    """BLOCK consecutive free ports, held until the end of the context."""
    folder = Path(tempfile.gettempdir()) / "bulkhead-ports"
    folder.mkdir(exist_ok=True)
    for first in range(FIRST, LAST, BLOCK):
        with (folder / str(first)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            ports = list(range(first, first + BLOCK))
            if all(map(is_free, ports)):
                yield ports
                return
    raise RuntimeError("no block of free ports is left")
