"""The client rows of one process, and the counts that show whether one is missing.

Every request is counted when it begins, when its row is written, and when Locust hears of it. When
no request is in flight the three counts must agree.
"""

import os
from collections.abc import Iterable

import msgspec

from bulkhead.records import ClientRow, encode


class Counts(msgspec.Struct):
    """Requests of one process since it started.

    `begun`: set out to be sent. `written`: rows that reached the file. `stopped`: rows of requests
    that a stop cut off, of which Locust hears nothing. `events`: request events that Locust fired.
    """

    begun: int = 0
    written: int = 0
    stopped: int = 0
    events: int = 0

    @classmethod
    def total(cls, parts: "Iterable[Counts]") -> "Counts":
        """The counts of several processes together."""
        total = cls()
        for part in parts:
            total.begun += part.begun
            total.written += part.written
            total.stopped += part.stopped
            total.events += part.events
        return total

    def problem(self) -> str:
        """What does not add up, or ""."""
        if self.begun == self.written == self.events + self.stopped:
            return ""
        return (
            f"{self.begun} requests begun, {self.written} rows written, {self.events} request "
            f"events of Locust, {self.stopped} stopped: rows are missing, the evidence is invalid"
        )


class Told(msgspec.Struct):
    """What a process says of its rows: the counts, and what does not add up in them, or ""."""

    counts: Counts
    problem: str = ""


class Recorder:
    """Writes rows to `path`; with no path it writes nothing and finds no problem.

    `stopping` is true from the moment that the test is asked to stop: Locust kills a waiting user a
    little after it has decided to, and meanwhile that user may wake up and send.

    Each row is one write(2) to a file opened with O_APPEND: several processes may share the file,
    and a process that is killed has lost no row that it had finished.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.stopping = False
        self.counts = Counts()
        self.failure = ""
        self._fd = -1
        if path:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)

    def on_test_start(self, **_more: object) -> None:
        """A listener of Locust's event of this name."""
        self.stopping = False

    def on_test_stopping(self, **_more: object) -> None:
        """A listener of Locust's event of this name."""
        self.stopping = True

    def on_test_stop(self, **_more: object) -> None:
        """A listener of Locust's event of this name: have the kernel put every row on the disk."""
        if self._fd >= 0:
            os.fsync(self._fd)

    def on_request(self, **_request: object) -> None:
        """A listener of Locust's event of this name."""
        self.counts.events += 1

    def begin(self) -> None:
        """A request is about to be sent."""
        self.counts.begun += 1

    def write(self, row: ClientRow) -> None:
        """Write the row of a request that has ended.

        It raises nothing, for a row is written while a user may be ending: what could not be
        written is missing from the counts and told at the end.
        """
        if row.error == "stopped":
            self.counts.stopped += 1
        if self._fd < 0:
            return
        line = encode(row) + b"\n"
        try:
            if os.write(self._fd, line) == len(line):
                self.counts.written += 1
            else:
                self.failure = self.failure or "a row was written in part"
        except OSError as error:
            self.failure = self.failure or str(error)

    def told(self) -> Told:
        """What rows there are. Ask when no request is in flight."""
        problem = self.counts.problem() if self._fd >= 0 else ""
        if problem and self.failure:
            problem = f"{problem} ({self.failure})"
        return Told(self.counts, problem)
