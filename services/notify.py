"""Telling a watchdog that this process serves and that its event loop turns: sd_notify(3).

Each beat is one datagram that says all there is to say, so one that is lost does no harm and a
watchdog that starts later knows everything after one interval. A beat must be sent by the event
loop itself, or right where it begins with the next request: it is the proof that nothing has been
keeping the loop for long. Sending never waits and never fails; without a watchdog nothing is sent.

Standard library only, shared by every service.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

# Without WATCHDOG_USEC, and never slower: so long a watchdog that starts again may know nothing.
LONGEST_S = 0.25
SHORTEST_S = 0.02

READY = b"READY=1\nWATCHDOG=1"
STOPPING = b"STOPPING=1"
DRAINS = b"STOPPING=1\nWATCHDOG=1"

# Calls a function after so many seconds, in the event loop: `loop.call_later` of asyncio.
Later = Callable[[float, Callable[[], None]], object]


class Notifier:
    """The beats of one process."""

    def __init__(self, path: str, interval_s: float) -> None:
        self.interval_s = interval_s
        # As sd_notify: `@` stands for the zero byte that begins an abstract name.
        self._path = "\0" + path[1:] if path.startswith("@") else path
        self._socket: socket.socket | None = None  # kept: to beat must not need a descriptor
        self._words = b""  # nothing is said before this process serves, or without a watchdog
        self._last = 0.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Notifier":
        """As the supervisor has set it up: NOTIFY_SOCKET and WATCHDOG_USEC."""
        try:
            asked_s = int(environ.get("WATCHDOG_USEC", "")) / 1e6 / 4
        except ValueError:
            asked_s = LONGEST_S
        interval_s = max(SHORTEST_S, min(asked_s, LONGEST_S)) if asked_s > 0 else LONGEST_S
        return cls(environ.get("NOTIFY_SOCKET", ""), interval_s)

    def ready(self, later: Later) -> None:
        """This process accepts requests from now on: beat now, and again by the loop's timers."""
        if not self._path:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._words = READY

        def again() -> None:
            self.beat()
            # At the same moments in all processes: so the watchdog wakes up for many beats at once.
            later(self.interval_s - time.monotonic() % self.interval_s, again)

        again()

    def stopping(self) -> None:
        """This process takes no new requests any more; what it has begun it still answers."""
        if self._words:
            self._words = DRAINS
            self._send(STOPPING)

    def close(self) -> None:
        """Say nothing any more."""
        self._words = b""
        if self._socket:
            self._socket.close()
            self._socket = None

    def beat(self) -> None:
        """Say how things are."""
        self._last = time.monotonic()
        self._send(self._words)

    def turn(self) -> None:
        """A request begins or is done, so the loop got this far: beat if one is due.

        One turn of a busy loop may serve hundreds of requests before its timers get theirs.
        """
        if self._words and time.monotonic() - self._last >= self.interval_s:
            self.beat()

    def _send(self, words: bytes) -> None:
        # No watchdog, or one that is behind: the next beat says the same.
        with suppress(OSError):
            if self._socket:
                self._socket.sendto(words, self._path)
