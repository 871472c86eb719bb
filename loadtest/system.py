"""A load's needs of the operating system: signals, an exact timer, files and ports enough."""

import ctypes
import errno
import math
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import gevent

LEAST_FILES = 10_000  # as Locust asks for, which gives up when it cannot have all of them
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_TIMER_ABSTIME = 1
_Itimerspec = ctypes.c_long * 4  # interval and first expiry, each in seconds and nanoseconds


def end_with_parent(expected: int | None) -> None:
    """Be sent SIGTERM when the parent dies, also when it is killed. None: never.

    To the kernel the parent is the thread that started this process. ValueError: it is another one,
    so the process that was to wait for this load has died.
    """
    if expected is None:
        return
    if _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM)):
        raise OSError(ctypes.get_errno(), "prctl")
    # Only now: a parent that died before the call sends nothing.
    if expected != (parent := os.getppid()):
        raise ValueError(f"parent_pid = {expected}: must be the parent's, which is {parent}")


def let_ctrl_c_strike_only_the_main_greenlet() -> None:
    """Take SIGINT between two greenlets, and raise it where Locust waits for it.

    Python raises it in whatever runs: in a user between its row and its request event, say, and
    the counts would not agree.
    """
    hub = gevent.get_hub()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        gevent.signal_handler(
            signal.SIGINT, hub.handle_system_error, KeyboardInterrupt, KeyboardInterrupt()
        )


def call_on_next_signal(callback: Callable[[], None]) -> None:
    """From now on Ctrl-C and SIGTERM do no more than have the event loop call `callback`.

    A second one would otherwise end Locust in the middle of its stop, and rows would be lost.
    """
    loop = gevent.get_hub().loop
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.run_callback_threadsafe(callback))


class Alarm:
    """A timer exact to a few hundredths of a millisecond: `fd` becomes readable at its moment.

    The event loop's own timers know whole milliseconds: requests would leave half of one late,
    which would stand in every latency. Only since 3.13 does Python have Linux's timerfd.
    """

    def __init__(self) -> None:
        self.fd = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, moment: float) -> None:
        """Ring at this moment of the monotonic clock alone, at once if past; at infinity never."""
        expiry = (0, 0)  # switches it off
        if moment < math.inf:
            expiry = divmod(max(1, int(moment * 1e9)), 1_000_000_000)
        if _libc.timerfd_settime(self.fd, _TIMER_ABSTIME, _Itimerspec(0, 0, *expiry), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Close the descriptor; no one may watch it any more."""
        os.close(self.fd)


def allow_files() -> None:
    """Raise the limit of open files as far as this user may, and as far as Locust would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = LEAST_FILES if hard == resource.RLIM_INFINITY else min(LEAST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


_NO_MEMORY = "gets no memory for a connection from the kernel; free some (sysctl net.ipv4.tcp_mem)"
_SHORTAGES = {
    errno.EMFILE: "may open {} files; raise the limit (ulimit -Hn)",
    errno.ENFILE: "shares this machine's open files; raise their number (sysctl fs.file-max)",
    errno.EADDRNOTAVAIL: (
        "has no local port left of {}; widen the range (sysctl net.ipv4.ip_local_port_range)"
    ),
    errno.ENOBUFS: _NO_MEMORY,
    errno.ENOMEM: _NO_MEMORY,
}


def shortage(error: OSError) -> str:
    """The load generator's shortage, its limit, and what to raise; "" for other errors."""
    number = error.errno or 0
    if number not in _SHORTAGES:
        return ""
    limit: object = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if number == errno.EADDRNOTAVAIL:  # not at a shortage of files: it opens one
        limit = " to ".join(PORT_RANGE.read_text().split())
    return f"{os.strerror(number)}: the load generator {_SHORTAGES[number].format(limit)}"
