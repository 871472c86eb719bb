"""Rotation of the files that grow: renamed, and every process that writes to one opens it anew.

Whoever holds a renamed file open goes on writing to it, so nothing is lost. Each such process is
sent SIGUSR1, the signal by which nginx, the services and the watchdog open their files again; it
is done when no process of the stack holds a renamed file any more. supervisord keeps the other
logs short by itself.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGUSR1

from bulkhead.clock import now, wait_until
from bulkhead.control import process, record
from bulkhead.control.interrupts import held
from bulkhead.control.lock import lock
from bulkhead.control.process import Process
from bulkhead.control.record import Record
from bulkhead.errors import StateError
from bulkhead.render.paths import Home

REOPEN_S = 10
AGAIN_S = 1  # a process that was only just starting may have opened the file and missed the signal


@dataclass(frozen=True)
class Reopened:
    """What became of the files."""

    files: tuple[Path, ...]  # the renamed ones, by their new names
    bytes: int
    pids: tuple[int, ...]  # who had to open something again
    took_s: float


def reopen(home: Home, keep: int, patience_s: float = REOPEN_S) -> Reopened:
    """Set aside the rows and nginx's error log as `.1`, older ones as `.2` to `.keep`.

    Raises:
        StateError: the stack is not up, or a process writes on to a renamed file.
    """
    with lock(home):
        running = record.require(home)
        began = now()
        with held():
            renamed = [shift(path, keep) for path in growing(home)]
        told: dict[Process, float] = {}
        wait_until(lambda: not _tell(holders(running, renamed), told), patience_s)
        if left := holders(running, renamed):
            raise StateError(
                "the files are renamed, but these processes still write to the old ones, and will "
                "until they start again: " + ", ".join(f"pid {one.pid}" for one in left)
            )
        size = sum(path.stat().st_size for path in renamed)
        pids = tuple(sorted(one.pid for one in told))
        return Reopened(tuple(renamed), size, pids, now() - began)


def growing(home: Home) -> list[Path]:
    """The files that nobody else keeps short, as far as there is something in them."""
    found = [*sorted(home.rows.glob("*.jsonl")), home.nginx_log]
    return [path for path in found if path.exists() and path.stat().st_size]


def shift(path: Path, keep: int) -> Path:
    """Rename a file to `.1`, its predecessors one further each, and forget the last."""
    for number in range(keep, 1, -1):
        older = path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
    renamed = path.with_name(f"{path.name}.1")
    path.replace(renamed)
    return renamed


def holders(running: Record, files: Sequence[Path]) -> list[Process]:
    """The processes of the stack that have one of these files open."""
    names = {str(path) for path in files}
    return [one for one in running.members() if names & set(_open_files(one))]


def _open_files(one: Process) -> Iterator[str]:
    """What its descriptors point at, by the files' names of now."""
    folder = f"/proc/{one.pid}/fd"
    with suppress(OSError):  # it has ended meanwhile
        for number in os.listdir(folder):  # noqa: PTH208 - names only
            with suppress(OSError):  # it has closed this one meanwhile
                yield os.readlink(f"{folder}/{number}")  # noqa: PTH115 - no path to follow


def _tell(holding: Sequence[Process], told: dict[Process, float]) -> bool:
    """Signal those that hold a renamed file, each once a second; whether there were any."""
    for one in holding:
        if _catches(one) and now() - told.get(one, -AGAIN_S) >= AGAIN_S:
            process.send(one, SIGUSR1)
            told[one] = now()
    return bool(holding)


def _catches(one: Process) -> bool:
    """Whether it has a handler for the signal: without one it would die of it (proc(5), SigCgt)."""
    try:
        text = Path(f"/proc/{one.pid}/status").read_text()
    except OSError:
        return False
    mask = next(line for line in text.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask.split()[1], 16) & 1 << SIGUSR1 - 1)
