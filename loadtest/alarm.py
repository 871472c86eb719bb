"""A timer that is exact to a few hundredths of a millisecond.

The event loop's own timers know whole milliseconds: requests would leave half of one late, which
would stand in every latency. Python has had Linux's timerfd as a function only since 3.13.
"""

import ctypes
import os
import time

_libc = ctypes.CDLL(None, use_errno=True)
_settime = _libc.timerfd_settime
_ABSOLUTE = 1
_Itimerspec = ctypes.c_long * 4  # interval and first expiry, each in seconds and nanoseconds


class Alarm:
    """Its descriptor `fd` becomes readable at the moment it is set to, and stays so."""

    def __init__(self) -> None:
        self.fd = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, moment: float) -> None:
        """Ring at this moment of the monotonic clock, at once when it is past, and at no other."""
        # An expiry of 0 would switch it off.
        seconds, nanoseconds = divmod(max(1, int(moment * 1e9)), 1_000_000_000)
        if _settime(self.fd, _ABSOLUTE, _Itimerspec(0, 0, seconds, nanoseconds), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Do not ring."""
        _settime(self.fd, _ABSOLUTE, _Itimerspec(), None)

    def close(self) -> None:
        """Give the descriptor back; no one may watch it any more."""
        os.close(self.fd)
