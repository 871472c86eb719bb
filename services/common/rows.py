"""Service rows: one line at the start and one at the end of every request this process executes.

Each line is one write(2) to a file opened with O_APPEND, and the start line is written before any
effect. So a process that dies by SIGKILL loses nothing, and lines of several processes in one file
never mix (a line is far shorter than the page that the kernel appends under the inode lock).

A row that cannot be written fails no request. It is counted, and a row of kind `dropped` gives the
count once the file takes rows again. bulkhead/records.py repairs a line that a full disk cut short.
"""

import errno
import itertools
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from services.common.identity import Identity
from services.common.notify import Later

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
MODE = 0o600

Effect = Literal["none", "applied", "replayed"]

AGAIN_S = 1.0  # between two tries to write how many rows are missing, if no request writes one
# A row is one write far below a page; the target of a request may be as long as the header limit.
MAX_METHOD, MAX_TARGET, MAX_KEY = 32, 1000, 255
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass
class Execution:
    """One execution of one request: what `begin` returns and `end` takes back."""

    number: int
    request_id: str
    effect: Effect = "none"
    fault: str = ""  # the injected fault that hit it: "errors" or "slow"


class Rows:
    """The row writer of one process; with no path it writes nothing and costs nothing.

    `later` calls a function after so many seconds, as the process's event loop does.
    OSError if the file cannot be opened, for another reason than a full disk.
    """

    def __init__(self, path: str, identity: Identity, later: Later = lambda *_: None) -> None:
        self.dropped = 0  # rows that could not be written since this process started
        self._missing = 0  # those of them that the file does not count yet
        self._path = path
        self._later = later
        self._numbers = itertools.count(1)
        self._process = {"instance": identity.instance, "pid": identity.pid, "boot": identity.boot}
        self._fd = -1
        if path:
            try:
                self._fd = os.open(path, FLAGS, MODE)
            except OSError as error:
                if error.errno not in FULL:  # else the first row tries again
                    raise

    def begin(self, request_id: str, method: str, target: str, key: str | None) -> Execution:
        """Write the start line; call it before the request has any effect.

        Method, target and key are as WSGI and Tornado give them: a character for each byte.
        """
        execution = Execution(next(self._numbers), request_id)
        request = {
            "method": _shown(method, MAX_METHOD),
            "target": _shown(target, MAX_TARGET),
            "key": key and _shown(key, MAX_KEY),
        }
        self._write(self._row("begin", request_id, execution.number) | request)
        return execution

    def end(self, execution: Execution, status: int) -> None:
        """Write the end line: the status of the answer and the effect of the request."""
        row = self._row("end", execution.request_id, execution.number)
        row |= {"status": status, "effect": execution.effect}
        self._write(row | ({"fault": execution.fault} if execution.fault else {}))

    def _row(self, kind: str, request_id: str, number: int) -> dict[str, object]:
        return {"kind": kind, "t": time.monotonic(), "id": request_id, "n": number, **self._process}

    def reopen(self) -> None:
        """Write to a file of the same name from now on: the one that is open has been renamed.

        OSError if there cannot be a new file; lines still go to the old one.
        """
        if self._fd >= 0:
            new = os.open(self._path, FLAGS, MODE)
            os.dup2(new, self._fd, inheritable=False)
            os.close(new)

    def _write(self, row: dict[str, object]) -> None:
        if self._path and not (self._is_reported() and self._append(row)):
            if not self._missing:
                self._later(AGAIN_S, self._report)
            self.dropped += 1
            self._missing += 1

    def _is_reported(self) -> bool:
        """Whether the file counts every missing row; if it does not, try to write the count."""
        if self._missing and self._append(self._row("dropped", "", self._missing)):
            _say(f"rows are written to {self._path} again; {self._missing} are missing")
            self._missing = 0
        return not self._missing

    def _report(self) -> None:
        """Write how many rows are missing, even if no more requests come."""
        if not self._is_reported():
            self._later(AGAIN_S, self._report)

    def _append(self, row: dict[str, object]) -> bool:
        """Write one line. Whether the file has all of it."""
        line = json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, FLAGS, MODE)
            if os.write(self._fd, line) == len(line):
                return True
            why = "no room for a whole row"
        except OSError as error:
            why = error.strerror or str(error)
        if not self._missing:
            _say(f"rows cannot be written to {self._path}: {why}; requests go on without")
        return False


def _shown(text: str, most: int) -> str:
    """The first `most` bytes of a client's text, decoded as UTF-8 with U+FFFD for invalid bytes."""
    if text.isascii():
        return text[:most]
    return text.encode("latin1", "replace")[:most].decode(errors="replace")


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # stderr is closed, or its disk is full as well
        print(text, file=sys.stderr, flush=True)
