"""What the ledger has applied and holds, read from its file or from its server."""

import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol

import msgspec

from bulkhead.errors import EvidenceError
from bulkhead.faults.base import Site
from bulkhead.records import EffectRow, EntryRow
from bulkhead.render.paths import Home
from bulkhead.topology.model import Topology

# It is another program, and no import: what is measured shares no code with the ruler.
EXPORT = (sys.executable, "-m", "services.api.export")
EXPORT_S = 120

EFFECTS = """
    SELECT seq, request_id, key, op, entry_id, version, instance, boot, at
    FROM effects WHERE seq > :after ORDER BY seq
"""
ENTRIES = """
    SELECT id, version, 0 FROM entries
    WHERE id IN (SELECT entry_id FROM effects WHERE seq > :after)
    UNION ALL SELECT entry_id, version, 1 FROM deleted
    WHERE entry_id IN (SELECT entry_id FROM effects WHERE seq > :after)
"""


class Ledger(Protocol):
    """A ledger as whoever measures it sees it: for reading only."""

    def last(self) -> int:
        """The number of the last effect; 0 when there is none.

        Raises:
            EvidenceError: it cannot be read.
        """

    def rows(self, after: int) -> Iterator[EffectRow | EntryRow]:
        """Every effect behind that number, then every entry that they touched; as of one moment.

        Raises:
            EvidenceError: it cannot be read, or not to its end.
        """


def of(site: Site) -> Ledger:
    """The ledger of a running stack."""
    if site.hosts:
        return LedgerServer(site.hosts.export, site.topology.root)
    return of_this_host(site.topology)


def of_this_host(topology: Topology) -> Ledger:
    """The ledger that the instances of this host have."""
    stack = topology.file.stack
    if not stack.ledger_url:
        return LedgerFile(Home(topology.home).ledger)
    password = stack.ledger_password_file
    file = [str(topology.root / password)] if password else []
    return LedgerServer([*EXPORT, stack.ledger_url, *file], topology.root)


class LedgerFile:
    """A SQLite file. One that is not there has applied nothing yet."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def last(self) -> int:
        """As Ledger."""
        if not self._path.exists():
            return 0
        with self._open() as ledger:
            (last,) = ledger.execute("SELECT coalesce(max(seq), 0) FROM effects").fetchone()
            return int(last)

    def rows(self, after: int) -> Iterator[EffectRow | EntryRow]:
        """As Ledger."""
        if not self._path.exists():
            return
        with self._open() as ledger:
            ledger.execute("BEGIN")  # both as of one moment: a write may still come in between
            for row in ledger.execute(EFFECTS, {"after": after}):
                yield EffectRow(*row)
            for id_, version, gone in ledger.execute(ENTRIES, {"after": after}):
                yield EntryRow(id_, version, bool(gone))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """For reading only: whoever measures must not be able to change what is measured."""
        try:
            uri = f"file:{self._path}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=10)) as ledger:
                yield ledger
        except sqlite3.Error as error:
            raise EvidenceError(f"{self._path}: cannot be read: {error}") from error


class LedgerServer:
    """A database server. `command` is the export, begun where the server can be reached."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._command = command
        self._folder = folder

    def last(self) -> int:
        """As Ledger."""
        with self._export() as lines:
            return int(msgspec.json.decode(next(lines))["last"])

    def rows(self, after: int) -> Iterator[EffectRow | EntryRow]:
        """As Ledger."""
        effects = entries = 0
        line = None
        with self._export("--after", str(after)) as lines:
            for line in map(_LINE.decode, lines):
                if line.effect:
                    effects += 1
                    yield line.effect
                elif line.entry:
                    entries += 1
                    yield line.entry
        if line is None or (line.effects, line.entries) != (effects, entries):
            raise EvidenceError(f"{shlex.join(self._command)}: what it printed is not whole")

    @contextmanager
    def _export(self, *words: str) -> Iterator[Iterator[bytes]]:
        """The lines that the export prints; it has ended well by then."""
        with TemporaryFile() as out:
            try:
                done = subprocess.run(
                    [*self._command, *words],
                    cwd=self._folder,
                    stdout=out,
                    stderr=subprocess.PIPE,
                    timeout=EXPORT_S,
                    start_new_session=True,  # Ctrl-C is for us
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise EvidenceError(f"the ledger cannot be read: no end in {EXPORT_S} s") from None
            if done.returncode != 0:
                said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
                raise EvidenceError(f"the ledger cannot be read: {said}")
            out.seek(0)
            yield iter(out)


class _Line(msgspec.Struct):
    """A line of an export: one of the first two, and the other two in the last line."""

    effect: EffectRow | None = None
    entry: EntryRow | None = None
    effects: int | None = None
    entries: int | None = None


_LINE = msgspec.json.Decoder(_Line)
