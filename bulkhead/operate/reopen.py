"""Log rotation: files that grow are renamed, and every process that writes to one opens it anew.

A process goes on writing to a renamed file until it is sent SIGUSR1, so nothing is lost; it is done
when none of the stack holds one any more. supervisord keeps the other logs short by itself.
"""

import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import SIGUSR1
from typing import IO

from bulkhead import proc
from bulkhead.atomic import no_link
from bulkhead.clock import now, wait_until
from bulkhead.errors import BulkheadError, StateError
from bulkhead.interrupts import signals_deferred
from bulkhead.proc import Process
from bulkhead.render.paths import Home
from bulkhead.supervise import record
from bulkhead.supervise.home import lock
from bulkhead.supervise.record import Record

REOPEN_S = 10
AGAIN_S = 1  # a process that was only just starting may have opened the file and missed the signal


@dataclass(frozen=True)
class Reopened:
    """The files' new state."""

    files: tuple[Path, ...]  # the renamed ones, by their new names
    bytes: int
    pids: tuple[int, ...]  # of the processes that had to open something again
    took_s: float


@contextmanager
def all_rows_wanted(home: Home) -> Iterator[None]:
    """Keep the watchdog from rotating files for their size: an account needs all rows."""
    home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _rows_lock(home) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


def rotate(home: Home, keep: int, most_bytes: int) -> Reopened | None:
    """As `reopen`, of files larger than `most_bytes`; None while all rows are wanted."""
    with _rows_lock(home) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return reopen(home, keep, larger_than=most_bytes)


def reopen(home: Home, keep: int, patience_s: float = REOPEN_S, larger_than: int = 0) -> Reopened:
    """Rename rows and nginx log to `.1`, older ones up to `.keep`; StateError if one stays open."""
    with lock(home):
        running = record.require(home)
        start = now()
        with signals_deferred():
            renamed = [shift(path, keep) for path in growing(home, larger_than)]
        told: dict[Process, float] = {}

        def let_go() -> bool:
            holding = holders(running, renamed)
            for process in holding:
                if _catches(process) and now() - told.get(process, -AGAIN_S) >= AGAIN_S:
                    proc.send(process, SIGUSR1)
                    told[process] = now()
            return not holding

        wait_until(let_go, patience_s)
        if left := holders(running, renamed):
            raise StateError(
                "the files are renamed, but these processes still write to the old ones, and will "
                "until they start again: " + ", ".join(f"pid {process.pid}" for process in left)
            )
        size = sum(path.stat().st_size for path in renamed)
        pids = tuple(sorted(process.pid for process in told))
        return Reopened(tuple(renamed), size, pids, now() - start)


def growing(home: Home, larger_than: int = 0) -> list[Path]:
    """The files that supervisord does not rotate and that hold more than so many bytes."""
    paths = [*sorted(home.rows.glob("*.jsonl")), home.nginx_log]
    return [path for path in paths if path.exists() and path.stat().st_size > larger_than]


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
    return [process for process in running.members() if names & set(_open_files(process))]


def _rows_lock(home: Home) -> IO[bytes]:
    """The file that is locked; if root makes it (a drill on containers), it is the home owner's."""
    file = os.fdopen(no_link(home.run / "rows.lock", os.O_RDWR | os.O_APPEND), "a+b")
    if os.geteuid() == 0:
        owner = home.run.stat()
        os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
    return file


def _open_files(process: Process) -> Iterator[str]:
    """The files that its descriptors point at, by their names of now."""
    folder = f"/proc/{process.pid}/fd"
    with suppress(OSError):  # it has ended meanwhile
        for number in os.listdir(folder):  # noqa: PTH208 - names only
            with suppress(OSError):  # it has closed this one meanwhile
                yield os.readlink(f"{folder}/{number}")  # noqa: PTH115 - no path to follow


def _catches(process: Process) -> bool:
    """Whether it has a handler for the signal: without one it would die of it (proc(5), SigCgt)."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return False
    mask = next(line for line in text.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask.split()[1], 16) & 1 << SIGUSR1 - 1)


def main(arguments: list[str]) -> int:
    """Rotate the files that are larger than so many bytes; the exit code."""
    home, keep, limit = arguments
    try:
        done = rotate(Home(Path(home)), int(keep), int(limit))
    except (BulkheadError, OSError) as error:
        print(f"watch: rows are not rotated: {error}", file=sys.stderr)
        return 1
    for path in done.files if done else ():
        print(f"watch: {path.stem} was larger than {int(limit) >> 20} MB, and is now {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
