"""The client rows of one process: written, counted, and checked for a missing one at the end.

A process that finds a hole in its rows says so in one line and ends with EXIT_ROWS, one whose load
broke with EXIT_BROKEN.
"""

import errno
import os
from pathlib import Path
from typing import Any

import msgspec

from bulkhead.records import ClientRow, RowsEnd

EXIT_ROWS = 3
BROKEN, EXIT_BROKEN = "the open loop broke", 1
WORKER = "{worker}"  # in the path of the rows it stands for the worker's number


class Report(msgspec.Struct):
    """One process' word about its rows; `problem` is the defect in them, or "".

    `begun`: set out to be sent. `written`: rows that reached the file, or would have if there were
    one. `stopped`: rows of requests that a stop cut off; of a closed loop's Locust hears nothing.
    `events`: request events that Locust fired; an open loop fires none.
    """

    begun: int = 0
    written: int = 0
    stopped: int = 0
    events: int = 0
    problem: str = ""


class Journal:
    """Appends rows to the file at `path`; with no path it only counts them.

    Rows wait in memory until the next `flush`. Rows that could not be written are missing from
    what was `written`; `failure` says why, or is "". `broken` says why the load itself broke.
    """

    details = ""  # a pattern: what else a report says when no row is missing

    def __init__(self, path: str) -> None:
        self.failure = ""
        self.broken = ""
        self.counts = Report()
        self._added = 0
        self._waiting = bytearray()
        self._encode_into = msgspec.json.Encoder().encode_into
        self._fd = -1
        if path:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)

    def begin(self) -> None:
        """Count a request that is to have a row."""
        self.counts.begun += 1

    def add(self, row: ClientRow) -> None:
        """Take the row of a request that has ended."""
        self._added += 1
        self.counts.stopped += row.error == "stopped"
        if self._fd >= 0:
            self._encode_into(row, self._waiting, -1)
            self._waiting += b"\n"

    def flush(self) -> None:
        """Write all waiting rows, unless it has failed before: the file would have a hole.

        It raises nothing, for a user may be ending: the report tells what could not be written.
        """
        if self.failure:
            self._waiting.clear()
            return
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting)]
        except OSError as error:
            self.failure = str(error)
        else:
            self.counts.written = self._added

    def report(self) -> Report:
        """The rows so far, all of them on the disk. Ask when no request is in flight."""
        self.flush()
        try:
            if self._fd >= 0:
                os.fsync(self._fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a kind of file that cannot be synced
                self.failure = self.failure or str(error)
        self.counts.problem = self.broken
        if self.failure or not self._adds_up():
            why = f" ({self.failure})" if self.failure else ""
            self.counts.problem = f"{self._count()}: rows are missing, the evidence is invalid{why}"
        return self.counts

    def _adds_up(self) -> bool:
        return self.counts.begun == self.counts.written

    def _count(self) -> str:
        return f"{self.counts.begun} arrivals planned, {self.counts.written} rows written"


class Recorder(Journal):
    """The journal of a closed loop, whose clients flush each row at once.

    Each row is one write(2) to a file opened with O_APPEND: several processes may share the file,
    and a process that is killed has lost no row that it had finished.
    """

    details = " ({0.events} told to Locust, {0.stopped} cut off by the stop)"

    def __init__(self, events: Any, path: str) -> None:
        super().__init__(path)
        events.request.add_listener(self._on_request)

    def _on_request(self, **_request: object) -> None:
        self.counts.events += 1

    def _adds_up(self) -> bool:
        if self._fd < 0:
            return True  # a user on another client has events and no rows
        counts = self.counts
        return super()._adds_up() and counts.written == counts.events + counts.stopped

    def _count(self) -> str:
        return (
            f"{self.counts.begun} requests begun, {self.counts.written} rows written, "
            f"{self.counts.events} request events of Locust, {self.counts.stopped} stopped"
        )


def own_path(path: str, worker: int) -> str:
    """The file of this worker; `path` when all share it. ValueError if its own is there already."""
    own = path.replace(WORKER, str(worker))
    if own != path and Path(own).exists():
        raise ValueError(f"rows = {path!r}: {own} is there already")
    return own


def write_end(path: str, rows: int, early: bool) -> None:
    """Say beside the worker's own file that it is whole; see RowsEnd."""
    end = Path(f"{path}.end")
    part = end.with_name(f".{end.name}.part")
    part.write_bytes(msgspec.json.encode(RowsEnd(rows, early)))
    part.replace(end)
