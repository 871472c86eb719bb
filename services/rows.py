"""Service rows: one line at the begin and one at the end of every request this process executes.

Each line is one write(2) to a file opened with O_APPEND, and the begin line is written before any
effect. A process that dies by SIGKILL has therefore lost nothing that it had begun to write, and
lines of several processes in one file never mix (a line is far shorter than the page that the
kernel appends under the inode lock).
"""

import itertools
import json
import os
import time
from dataclasses import dataclass
from typing import Literal

from services.identity import Identity

Effect = Literal["none", "applied", "replayed"]


@dataclass
class Execution:
    """One execution of one request: what `begin` returns and `end` takes back."""

    number: int
    request_id: str
    effect: Effect = "none"
    fault: str = ""  # what a drill made of it, if anything: "errors" or "slow"


class Rows:
    """The row writer of one process; with no path it writes nothing and costs nothing."""

    def __init__(self, path: str, identity: Identity) -> None:
        self._path = path
        self._fd = _open(path) if path else -1
        self._numbers = itertools.count(1)
        self._who = {"instance": identity.instance, "pid": identity.pid, "boot": identity.boot}

    def begin(self, request_id: str, method: str, target: str, key: str | None) -> Execution:
        """Write the begin line; call it before the request has any effect."""
        execution = Execution(next(self._numbers), request_id)
        self._write(
            {"kind": "begin", "t": time.monotonic(), "id": request_id, "n": execution.number}
            | self._who
            | {"method": method, "target": target, "key": key}
        )
        return execution

    def end(self, execution: Execution, status: int) -> None:
        """Write the end line: the status that was answered and what the request did."""
        self._write(
            {
                "kind": "end",
                "t": time.monotonic(),
                "id": execution.request_id,
                "n": execution.number,
            }
            | self._who
            | {"status": status, "effect": execution.effect}
            | ({"fault": execution.fault} if execution.fault else {})
        )

    def reopen(self) -> None:
        """Write to a file of the same name from now on: the one that is open has been renamed.

        The descriptor keeps its number, so a line goes whole to the old file or to the new one.

        Raises:
            OSError: there cannot be a new file; lines still go to the old one.
        """
        if self._fd >= 0:
            new = _open(self._path)
            os.dup2(new, self._fd, inheritable=False)
            os.close(new)

    def _write(self, row: dict[str, object]) -> None:
        if self._fd >= 0:
            os.write(self._fd, json.dumps(row, separators=(",", ":")).encode() + b"\n")


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
