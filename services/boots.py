"""At most one process for each processor boots at a time; the others wait for their turn.

To boot is to compute, a fifth of a second of it. When four processes do so at once on two
processors, each gets half of one and all four are ready at the end of twice that time. Two after
two, the first are ready after half of it, and that is what requests wait for when nobody is left.

A turn is a lock on a file, so it ends with the process that has it, however that ends. Nobody waits
for long: a process that hangs while it boots costs the others `PATIENCE_S` and no more.

Imported before anything else, so it may import nothing that costs time.
"""

import fcntl
import os
import time
from collections.abc import Mapping
from contextlib import suppress

PATIENCE_S = 1.0
EVERY_S = 0.002


class Turn:
    """The turn of this process; without a folder for the files nobody waits."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("BULKHEAD_BOOTS", "")
        self._file = _wait(folder) if folder else -1

    def end(self) -> None:
        """This process has booted: the next one may."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _wait(folder: str) -> int:
    """A file that only this process has locked; -1 when it has waited for long enough."""
    deadline = time.monotonic() + PATIENCE_S
    with suppress(OSError):  # to boot without a turn is better than not to boot
        while time.monotonic() < deadline:
            for number in range(len(os.sched_getaffinity(0))):
                if (file := _locked(f"{folder}/{number}")) >= 0:
                    return file
            time.sleep(EVERY_S)
    return -1


def _locked(path: str) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return -1
    return file
