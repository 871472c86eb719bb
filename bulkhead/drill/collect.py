"""The evidence of a run: rows, logs and the ledger's effects, written during it; its verdict."""

import errno
import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import duckdb
import msgspec

from bulkhead.accounting import account
from bulkhead.clock import wait_until
from bulkhead.errors import EvidenceError
from bulkhead.faults.contract import Site
from bulkhead.judge.expect import Expect
from bulkhead.judge.judge import judge
from bulkhead.judge.verdict import Verdict
from bulkhead.operate.reopen import all_rows_wanted
from bulkhead.records import EffectRow, EntryRow, encode
from bulkhead.render.paths import Home
from bulkhead.rundir import RunDir
from bulkhead.topology.model import Topology

CHUNK = 1 << 20
WHOLE_S = 1.0  # a line that is being written has its end long before

# A program, not an import: the services share no code with what measures them.
EXPORT = (sys.executable, "-m", "services.api.ledger.export")
EXPORT_S = 120

LAST = "SELECT coalesce(max(seq), 0) FROM effects"
EFFECTS = """
    SELECT seq, request_id, key, op, entry_id, version, instance, boot, at, amount
    FROM effects WHERE seq > :after ORDER BY seq
"""
ENTRIES = """
    SELECT id, version, 0, amount FROM entries
    WHERE id IN (SELECT entry_id FROM effects WHERE seq > :after)
    UNION ALL SELECT entry_id, version, 1, NULL FROM deleted
    WHERE entry_id IN (SELECT entry_id FROM effects WHERE seq > :after)
"""


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


def ledger_of(site: Site) -> "Ledger":
    """The ledger of a running stack."""
    if site.hosts:
        return LedgerServer(site.hosts.export, site.topology.root)
    return ledger_of_this_host(site.topology)


def ledger_of_this_host(topology: Topology) -> "Ledger":
    """The ledger that the instances of this host have."""
    stack = topology.file.stack
    if not stack.ledger_url:
        return LedgerFile(Home(topology.home).ledger)
    password = stack.ledger_password_file
    file = [str(topology.root / password)] if password else []
    return LedgerServer([*EXPORT, stack.ledger_url, *file], topology.root)


class LedgerFile:
    """A SQLite file, for reading only. One that is not there has applied nothing yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def last(self) -> int:
        """The number of the last effect; 0 when there is none.

        EvidenceError if it cannot be read.
        """
        if not self._path.exists():
            return 0
        with self._open() as ledger:
            return int(ledger.execute(LAST).fetchone()[0])

    def rows(self, after: int) -> Iterator[EffectRow | EntryRow]:
        """Every effect behind that number, then every entry that they touched; as of one moment.

        EvidenceError if it cannot be read, or not to its end.
        """
        if not self._path.exists():
            return
        with self._open() as ledger:
            ledger.execute("BEGIN")  # both as of one moment: a write may still come in between
            for row in ledger.execute(EFFECTS, {"after": after}):
                yield EffectRow(*row)
            for id_, version, gone, amount in ledger.execute(ENTRIES, {"after": after}):
                yield EntryRow(id_, version, bool(gone), amount)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A measurement must not be able to change the ledger."""
        try:
            uri = f"file:{self._path}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=10)) as ledger:
                yield ledger
        except sqlite3.Error as error:
            raise EvidenceError(f"{self._path}: cannot be read: {error}") from error


class _Line(msgspec.Struct):
    """A line of an export: one of the first two, and the other two in the last line."""

    effect: EffectRow | None = None
    entry: EntryRow | None = None
    effects: int | None = None
    entries: int | None = None


class LedgerServer:
    """A database server. `command` is the export, begun where the server can be reached."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        self._folder = folder

    def last(self) -> int:
        """As of LedgerFile."""
        return int(msgspec.json.decode(next(self._export()))["last"])

    def rows(self, after: int) -> Iterator[EffectRow | EntryRow]:
        """As of LedgerFile."""
        line, seen = _Line(), Counter[type]()
        for line in map(_LINE.decode, self._export("--after", str(after))):
            if row := line.effect or line.entry:
                seen[type(row)] += 1
                yield row
        if (line.effects, line.entries) != (seen[EffectRow], seen[EntryRow]):
            raise EvidenceError(f"{shlex.join(self._command)}: its output is not whole")

    def _export(self, *words: str) -> Iterator[bytes]:
        """The lines that the export prints; it has ended well by then."""
        with TemporaryFile() as out:
            try:
                subprocess.run(
                    [*self._command, *words],
                    cwd=self._folder,
                    stdout=out,
                    stderr=subprocess.PIPE,
                    timeout=EXPORT_S,
                    start_new_session=True,  # Ctrl-C is for us
                    check=True,
                )
            except subprocess.TimeoutExpired:
                raise EvidenceError(f"the ledger cannot be read: no end in {EXPORT_S} s") from None
            except subprocess.CalledProcessError as error:
                said = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
                raise EvidenceError(f"the ledger cannot be read: {said}") from None
            out.seek(0)
            yield from out


Ledger = LedgerFile | LedgerServer
_LINE = msgspec.json.Decoder(_Line)


class Mark:
    """One moment in the homes of all hosts: what is written later belongs to the run.

    EvidenceError if the ledger cannot be read.
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

        EvidenceError if the ledger cannot be read.
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

    EvidenceError if a file is missing, a line of it is no row, or the disk is full.
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
    run.verdict_json.write_text(json.dumps(asdict(verdict), indent=2) + "\n")
    return verdict
