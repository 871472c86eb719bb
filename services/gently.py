"""A process that boots while nobody waits for it leaves the processors to those that serve.

During a roll an instance boots that is out of rotation: its siblings have its requests, and what it
computes, they lack. So it boots at a low priority, if it may take that back: to raise its own
priority a process needs CAP_SYS_NICE or a limit RLIMIT_NICE that reaches so far (sched(7)). Where
it has neither, it boots as always.

Imported before anything else, so it may import nothing that costs time.
"""

import os
import resource
from collections.abc import Mapping
from contextlib import suppress

# A tenth of the processor time that another process at 0 gets beside it; all that is idle.
NICE = 10
CAP_SYS_NICE = 1 << 23  # linux/capability.h


class Gently:
    """The low priority of this process, while BULKHEAD_OUT names a file that is there."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._before = os.getpriority(os.PRIO_PROCESS, 0)
        marker = environ.get("BULKHEAD_OUT", "")
        out = bool(marker) and os.access(marker, os.F_OK)
        self._low = out and may_return_to(self._before)
        if self._low:
            os.setpriority(os.PRIO_PROCESS, 0, self._before + NICE)

    def end(self) -> None:
        """Back to the priority that it had: before it serves, and before anybody waits for it.

        What it opens it may lock, and who needs that would wait for the lowest of all.
        """
        if not self._low:
            return
        self._low = False
        # To Linux a priority is a thread's, and those that were started meanwhile have ours.
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - as above
            # In a user namespace the capability that it sees may be worth nothing: slow, then.
            with suppress(ProcessLookupError, PermissionError):
                os.setpriority(os.PRIO_PROCESS, int(thread), self._before)


def may_return_to(nice: int) -> bool:
    """Whether this process may raise its priority to `nice` again."""
    allowed = resource.getrlimit(resource.RLIMIT_NICE)[0]
    if allowed == resource.RLIM_INFINITY or allowed >= 20 - nice:
        return True
    with open("/proc/self/status") as status:  # noqa: PTH123 - as above
        words = next((line.split() for line in status if line.startswith("CapEff:")), [])
    return bool(int(words[1], 16) & CAP_SYS_NICE) if len(words) > 1 else False
