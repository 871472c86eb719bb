"""The rows of an open-loop load, written some at a time."""

import errno
import os

import msgspec

from bulkhead.records import ClientRow


class Journal:
    """Appends rows to the file at `path`; with no path it only counts them.

    Rows wait in memory until the next `flush`, which the pacer asks for many times a second. What
    could not be written stays missing from `written` and is told by `problem`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.added = 0
        self.written = 0
        self._failure = ""
        self._waiting = bytearray()
        self._encode_into = msgspec.json.Encoder().encode_into
        self._fd = -1
        if path:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)

    def add(self, row: ClientRow) -> None:
        """The row of a request that has ended."""
        self.added += 1
        if self._fd >= 0:
            self._encode_into(row, self._waiting, -1)
            self._waiting += b"\n"

    def flush(self) -> None:
        """Write what waits. After a failure nothing more is written: the file would have a hole."""
        if self._fd < 0 or self._failure:
            self._waiting.clear()
            return
        try:
            while self._waiting:
                del self._waiting[: os.write(self._fd, self._waiting)]
        except OSError as error:
            self._failure = str(error)
        else:
            self.written = self.added

    def sync(self) -> None:
        """Write what waits and have the kernel put it on the disk."""
        self.flush()
        if self._fd >= 0:
            try:
                os.fsync(self._fd)
            except OSError as error:
                if error.errno != errno.EINVAL:  # a kind of file that cannot be synced
                    self._failure = self._failure or str(error)

    def problem(self, planned: int) -> str:
        """What is missing of a row for each of `planned` arrivals, or ""."""
        written = self.written if self.path else self.added
        if planned == written and not self._failure:
            return ""
        why = f" ({self._failure})" if self._failure else ""
        return (
            f"{planned} arrivals planned, {written} rows written: rows are missing, the evidence "
            f"is invalid{why}"
        )
