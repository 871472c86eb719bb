"""How a process boots beside others: few at once, and at a low priority while it is drained.

Imported before anything else, so it may import nothing that costs time.
"""

import fcntl
import os
import resource
import time
from collections.abc import Mapping
from contextlib import suppress

PATIENCE_S = 1.0
EVERY_S = 0.002
FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

# A tenth of the processor time that another process at 0 gets beside it; all that is idle.
NICE = 10
CAP_SYS_NICE = 1 << 23  # linux/capability.h


class BootSemaphore:
    """At most one process for each processor boots at a time, so that the first are ready sooner.

    docs/decisions/010 says why. A slot is a lock on a file, so it ends with its process. One that
    hangs while it boots costs the others `PATIENCE_S` and no more. Without BULKHEAD_BOOTS, the
    folder of these files, no process waits.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("BULKHEAD_BOOTS", "")
        self._file = _wait_for_slot(folder) if folder else -1

    def release(self) -> None:
        """Let the next process boot. Does nothing the second time."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _wait_for_slot(folder: str) -> int:
    """A file that only this process has locked; -1 when it has waited for long enough."""
    deadline = time.monotonic() + PATIENCE_S
    with suppress(OSError):  # to boot without a slot is better than not to boot
        while time.monotonic() < deadline:
            for number in range(len(os.sched_getaffinity(0))):
                file = os.open(f"{folder}/{number}", FLAGS, 0o600)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return file
                except BlockingIOError:
                    os.close(file)
            time.sleep(EVERY_S)
    return -1


class LowPriorityBoot:
    """The low priority of this process, while BULKHEAD_DRAINED names a file that is there.

    An instance that boots drained, during a roll, leaves the processors to its siblings, which have
    its requests. A process that may not take that back boots as always.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._before = os.getpriority(os.PRIO_PROCESS, 0)
        drained = os.access(environ.get("BULKHEAD_DRAINED", ""), os.F_OK)
        self._low = drained and may_return_to(self._before)
        if self._low:
            os.setpriority(os.PRIO_PROCESS, 0, self._before + NICE)

    def restore(self) -> None:
        """Restore the priority before taking locks, to avoid priority inversion."""
        if not self._low:
            return
        self._low = False
        # To Linux a priority is a thread's, and threads started meanwhile have inherited ours.
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - pathlib costs time to import
            # In a user namespace the capability that it sees may be worth nothing: slow, then.
            with suppress(ProcessLookupError, PermissionError):
                os.setpriority(os.PRIO_PROCESS, int(thread), self._before)


def may_return_to(nice: int) -> bool:
    """Whether this process may raise its priority to `nice` again (sched(7))."""
    allowed = resource.getrlimit(resource.RLIMIT_NICE)[0]
    if allowed == resource.RLIM_INFINITY or allowed >= 20 - nice:
        return True
    with open("/proc/self/status") as status:  # noqa: PTH123 - pathlib costs time to import
        effective = status.read().partition("CapEff:")[2].split()
    return bool(effective) and bool(int(effective[0], 16) & CAP_SYS_NICE)
