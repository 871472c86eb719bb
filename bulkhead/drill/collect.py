"""The evidence of a run: rows, logs and effects that were written during it, and its verdict."""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import duckdb

from bulkhead.accounting import account
from bulkhead.clock import wait_until
from bulkhead.drill.ledger import Ledger
from bulkhead.errors import EvidenceError
from bulkhead.judge.expect import Expect
from bulkhead.judge.judge import judge
from bulkhead.judge.verdict import Verdict
from bulkhead.operate.reopen import all_rows_wanted
from bulkhead.records import EffectRow, encode
from bulkhead.render.paths import Home
from bulkhead.rundir import RunDir

CHUNK = 1 << 20
WHOLE_S = 1.0  # a line that is being written has its end long before


class Tail:
    """The lines that are appended to a file from now on, even if the file is moved meanwhile.

    Rotation renames it to NAME.1 (and that to NAME.2), a start of the stack to NAME.old, and then a
    new file begins. So the rest of today's file comes first, and then every file of these names
    that is not there yet. Today's files are held open: no new file can get the same inode.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        family = _family(path)
        self._files = [each.open("rb") for each in family]
        self._older = len(family) - (path in family)
        for file in self._files[self._older :]:
            file.seek(0, os.SEEK_END)

    def keep_open(self) -> None:
        """Hold open the files that have come since: a start keeps one earlier set and no more."""
        known = [os.fstat(each.fileno()) for each in self._files]
        for path in _family(self.path):
            with suppress(FileNotFoundError):  # renamed just now: the next look finds it
                file = path.open("rb")
                if any(os.path.samestat(os.fstat(file.fileno()), one) for one in known):
                    file.close()
                else:
                    self._files.append(file)

    def copy(self, target: Path) -> None:
        """Append the tail to `target`, and let go of the files; nothing if there never was one."""
        self.keep_open()
        with ExitStack() as files:
            for each in self._files:
                files.enter_context(each)
            if own := self._files[self._older :]:
                with target.open("ab") as out:
                    for file in own:
                        _append(file, out)


def _family(path: Path) -> list[Path]:
    """A file and its rotated ones that exist: the eldest first, the file itself last."""

    def turns(rotated: Path) -> int:
        number = rotated.name.rpartition(".")[2]
        return int(number) if number.isdigit() else 0  # `.old` is the youngest

    rotated = sorted(path.parent.glob(f"{path.name}.*"), key=turns, reverse=True)
    return [each for each in (*rotated, path) if each.exists()]


def _append(source: BinaryIO, out: BinaryIO) -> None:
    """Copy all, and the rest of a line that is being written: Linux shows an append by pages.

    A line that never gets its end, as on a full disk, is left as it is.
    """
    patience_s = 0.0
    while chunk := wait_until(lambda: source.read(CHUNK), patience_s):
        out.write(chunk)
        patience_s = 0 if chunk.endswith(b"\n") else WHOLE_S


class Mark:
    """One moment in the homes of all hosts: what is written later belongs to the run.

    Raises:
        EvidenceError: the ledger cannot be read.
    """

    def __init__(self, homes: Sequence[Home], ledger: Ledger) -> None:
        self._wanted = ExitStack()  # until they are kept, no rows are set aside for their size
        for home in homes:
            self._wanted.enter_context(all_rows_wanted(home))
        self._tails = [
            Tail(path)
            for home in homes
            for path in (home.proxy_rows, home.service_rows, home.watch_rows)
        ]
        self._ledger = ledger
        self._effects = ledger.last()

    def keep_open(self) -> None:
        """Hold every file of now open: a host may be started again and again."""
        for tail in self._tails:
            tail.keep_open()

    def keep(self, run: RunDir) -> None:
        """Copy the rows since then into the run folder, under their names in a home; once."""
        for tail in self._tails:
            tail.copy(run.path / tail.path.name)
        self._wanted.close()

    def keep_ledger(self, run: RunDir) -> None:
        """Write the ledger's effects since then, and the state of every entry that they touched.

        Raises:
            EvidenceError: the ledger cannot be read.
        """
        with run.effects.open("wb") as effects, run.entries.open("wb") as entries:
            for row in self._ledger.rows(self._effects):
                (effects if isinstance(row, EffectRow) else entries).write(encode(row) + b"\n")


@contextmanager
def room_for(out: RunDir) -> Iterator[None]:
    """Explain a full disk: a run that cannot be written down shows nothing."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise EvidenceError(
            f"{out.path}: {error.strerror}: the run is not written down whole, so nothing can be "
            "said of it; make room and run it again"
        ) from error


def keep_logs(homes: Sequence[Home], run: RunDir) -> None:
    """Copy the last megabyte of each log; several hosts have a folder each, named as its home."""
    for home in homes:
        folder = run.log if len(homes) == 1 else run.log / home.path.name
        folder.mkdir(parents=True)
        for path in sorted(
            path for kind in ("*.log", "*.log.[0-9]*", "*.log.old") for path in home.log.glob(kind)
        ):
            with path.open("rb") as lines:
                lines.seek(max(0, path.stat().st_size - CHUNK))
                (folder / path.name).write_bytes(lines.read())


def judged(run: RunDir) -> Verdict:
    """Reconcile the rows of a run, judge them by its drill's expectations, write verdict.json.

    Raises:
        EvidenceError: a file is missing, a line of it is no row, or the disk is full.
    """
    drill = json.loads(run.drill_json.read_text())
    expect = Expect.model_validate(drill["expect"])
    planned = sum(line["times"] for line in drill["faults"])
    try:
        with account.opened(run) as rows:
            lengths = {name.removesuffix("_s"): s for name, s in drill["phases"].items()}
            verdict = judge(rows, expect, planned, lengths)
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise EvidenceError(f"{run.account}: {error}") from error
    run.verdict_json.write_text(json.dumps(verdict.as_dict(), indent=2) + "\n")
    return verdict
