"""Heartbeats to a watchdog: this process serves and its event loop turns, as in sd_notify(3).

The event loop itself must send them, or the code where it begins with the next request: a heartbeat
proves that nothing has kept the loop for long. Sending never waits and never fails. The watchdog's
socket may refuse a datagram, so each heartbeat is also written into a page of memory; with a page,
a datagram is sent only when the state changes, or when a watchdog that has just started would have
to wait for one (docs/watchdog.md).

Standard library only, shared by every service.
"""

import errno
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

# The longest interval: for so long a watchdog that has just started may know nothing.
LONGEST_S = 0.25
SHORTEST_S = 0.02

# Each pid has a moment of its own: multiples of the golden ratio lie far apart. In slots, so that
# the watchdog does not wake up more often however many processes there are.
GOLDEN = 0.6180339887498949
SLOTS = 16

# After a refusal; then twice as long each time, up to an interval.
RETRY_S = 0.005
REFUSALS = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)

TURNED = struct.Struct("=d")  # the page: monotonic seconds of the last heartbeat

READY = b"READY=1\nWATCHDOG=1"
DRAINING = b"STOPPING=1\nWATCHDOG=1"

# Calls a function after so many seconds, in the event loop: `loop.call_later` of asyncio.
Later = Callable[[float, Callable[[], None]], object]


class Notifier:
    """The heartbeats of one process."""

    def __init__(self, path: str, interval_s: float) -> None:
        self.interval_s = interval_s
        # As sd_notify: `@` stands for the zero byte that begins an abstract name.
        self._path = "\0" + path[1:] if path.startswith("@") else path
        # Both stay open: a heartbeat must not need a new descriptor.
        self._socket: socket.socket | None = None
        self._page = -1  # a file in memory for the time of the last heartbeat
        self._message = b""  # empty before this process serves, and without a watchdog
        self._last = 0.0  # the last heartbeat: in the page, or taken by the watchdog's socket
        self._taken = b""  # the message that the watchdog's socket took last, and when
        self._taken_at = 0.0
        self._phase = 0.0  # where in an interval this process sends: 0 to 1
        self._later: Later = lambda *_: None  # before `ready` there is nothing to send again
        self._retry_s = RETRY_S
        self._retrying = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Notifier":
        """The notifier that NOTIFY_SOCKET and WATCHDOG_USEC ask for."""
        given = environ.get("WATCHDOG_USEC", "")
        asked_s = (int(given) if given.isdecimal() else 0) / 1e6 / 4
        interval_s = max(SHORTEST_S, min(asked_s or LONGEST_S, LONGEST_S))
        return cls(environ.get("NOTIFY_SOCKET", ""), interval_s)

    def ready(self, later: Later) -> None:
        """This process accepts requests now: send a heartbeat, and more by the loop's timers."""
        if not self._path:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with suppress(OSError):  # the kernel may give none
            self._page = os.memfd_create("turned")
        self._phase = phase(os.getpid())
        self._later = later
        self._message = READY

        def repeat() -> None:
            self.heartbeat()
            later(self._due_s(), repeat)

        repeat()

    def stopping(self) -> None:
        """This process takes no new requests any more; it still answers those it has begun."""
        if self._message:
            self._message = DRAINING
            self.heartbeat()

    def close(self) -> None:
        """Send no more heartbeats."""
        self._message = b""
        if self._socket:
            self._socket.close()
            self._socket = None
        if self._page >= 0:
            os.close(self._page)
            self._page = -1

    def heartbeat(self) -> None:
        """Send the state of this process; again soon if the watchdog's socket is full."""
        if not self._socket:
            return
        now = time.monotonic()
        with suppress(OSError):
            if self._page >= 0:
                os.pwrite(self._page, TURNED.pack(now), 0)
                self._last = now
                # Half an interval: timers are not exact.
                due = self._taken_at + LONGEST_S - self.interval_s / 2
                if self._message == self._taken and now < due:
                    return
        if self._sent(self._socket):
            self._last, self._retry_s = now, RETRY_S
            self._taken, self._taken_at = self._message, now
        elif not self._retrying:
            self._retrying = True
            # Not all at the same moment again.
            self._later(self._retry_s * (0.5 + self._phase), self._retry)
            self._retry_s = min(2 * self._retry_s, self.interval_s)

    def heartbeat_if_due(self) -> None:
        """Send a heartbeat if one is due: a busy loop serves many requests between its timers."""
        changed = self._message != self._taken
        if self._message and (changed or time.monotonic() - self._last >= self.interval_s):
            self.heartbeat()

    def _due_s(self) -> float:
        """Seconds until the moment in an interval that is this process's own."""
        since_s = (time.monotonic() - self._phase * self.interval_s) % self.interval_s
        # A timer that fires a bit early is not to fire again at once.
        left_s = self.interval_s - since_s
        return left_s if left_s > self.interval_s / 4 else left_s + self.interval_s

    def _retry(self) -> None:
        self._retrying = False
        self.heartbeat()

    def _sent(self, out: socket.socket) -> bool:
        """Whether the message is sent or lost; False if the watchdog's socket is full."""
        message = self._message
        if self._page >= 0:
            message += b"\nX_TURNED=%d" % self._page
        try:
            out.sendto(message, self._path)
        except OSError as error:
            # No watchdog: the next heartbeat says the same.
            return error.errno not in REFUSALS
        return True


def phase(pid: int) -> float:
    """Where in an interval a process sends its heartbeats, from 0 to 1."""
    return int(pid * GOLDEN % 1 * SLOTS) / SLOTS
