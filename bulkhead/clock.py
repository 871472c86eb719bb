"""Time. The only module that the rest asks what time it is.

CLOCK_MONOTONIC is shared by all processes of a host, so rows of every observer are on one time
line; the wall clock is for display and for nginx, which knows no other.
"""

import os
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

now = time.monotonic
wall = time.time
wall_ns = time.time_ns  # as `wall`, it may be set, also back
pause = time.sleep


def age(start_ticks: int) -> float:
    """Seconds since a process started that began `start_ticks` after the machine booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks / os.sysconf("SC_CLK_TCK")


def wall_offset() -> float:
    """Seconds to add to a monotonic time to get Unix time, at this moment."""
    return wall() - now()


def stamp() -> str:
    """The wall clock as a name for files: `20261120-161502`, in UTC."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime())


def wait_until(
    condition: Callable[[], Value | None], timeout_s: float, every_s: float = 0.02
) -> Value | None:
    """The first true answer of `condition`; None when `timeout_s` passed first.

    It asks once more after the deadline: a slow machine makes no time-out of a true condition.
    """
    deadline = now() + timeout_s
    while True:
        late = now() >= deadline
        value = condition()
        if value:
            return value
        if late:
            return None
        pause(every_s)
