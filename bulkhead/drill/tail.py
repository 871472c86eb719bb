"""What is appended to a file from one moment on, wherever the file is moved meanwhile.

Rotation renames rows.jsonl to rows.jsonl.1 (and that to rows.jsonl.2), a start of the stack renames
it to rows.jsonl.old, and then a new one begins. So the rest of the file that was there at that
moment comes first, and then every file of these names that was not there, whole.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from bulkhead.clock import wait_until

CHUNK = 1 << 20
WHOLE_S = 1.0  # a line that is being written has its end long before


class Tail:
    """The tail of one file. It holds open what is there: no new file can get the same number."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._older = [each.open("rb") for each in _family(path) if each != path]
        self._file = path.open("rb") if path.exists() else None
        self._held: list[BinaryIO] = []
        if self._file:
            self._file.seek(0, os.SEEK_END)

    def hold(self) -> None:
        """Hold open what has come since, so that nothing can take it away before it is copied.

        A start of a stack keeps one earlier life, and no more.
        """
        self._held += self._younger()

    def copy(self, target: Path) -> None:
        """Append the tail to `target`, and let go of the files; nothing if there never was one."""
        younger = self._younger()
        for each in self._older:
            each.close()
        if not (self._file or self._held or younger):
            return
        with target.open("ab") as out:
            if self._file:
                with self._file as rest:
                    _append(rest, out)
            for whole in (*self._held, *younger):
                with whole:
                    _append(whole, out)

    def _younger(self) -> list[BinaryIO]:
        """The files that were not there, opened, eldest first."""
        there = [
            os.fstat(each.fileno()) for each in (*self._older, self._file, *self._held) if each
        ]
        found: list[BinaryIO] = []
        for path in _family(self._path):
            with suppress(FileNotFoundError):  # renamed just now: the next look finds it
                file = path.open("rb")
                if any(os.path.samestat(os.fstat(file.fileno()), one) for one in there):
                    file.close()
                else:
                    found.append(file)
        return found


def _family(path: Path) -> list[Path]:
    """A file and what it once was, as far as it is there: the eldest first, itself last."""
    rotated = sorted(path.parent.glob(f"{path.name}.*"), key=_turn, reverse=True)
    return [each for each in (*rotated, path) if each.exists()]


def _turn(path: Path) -> int:
    """How often a file has been rotated, by its name; `.old` has not been."""
    number = path.name.rpartition(".")[2]
    return int(number) if number.isdigit() else 0


def _append(source: BinaryIO, out: BinaryIO) -> None:
    last = b"\n"
    while chunk := source.read(CHUNK) or _rest(source, last):
        out.write(chunk)
        last = chunk[-1:]


def _rest(source: BinaryIO, last: bytes) -> bytes | None:
    """The rest of a line that is being written: Linux shows an append page by page.

    One that never gets its end, as on a full disk, is left as it is.
    """
    return None if last == b"\n" else wait_until(lambda: source.read(CHUNK), WHOLE_S)
