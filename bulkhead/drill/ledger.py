"""The ledger's effects and entries, read from its file or from its server."""

import shlex
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import msgspec

from bulkhead.errors import EvidenceError
from bulkhead.faults.contract import Site
from bulkhead.records import EffectRow, EntryRow
from bulkhead.render.paths import Home
from bulkhead.topology.model import Topology

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


def of(site: Site) -> "Ledger":
    """The ledger of a running stack."""
    if site.hosts:
        return LedgerServer(site.hosts.export, site.topology.root)
    return of_this_host(site.topology)


def of_this_host(topology: Topology) -> "Ledger":
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

        Raises:
            EvidenceError: it cannot be read.
        """
        if not self._path.exists():
            return 0
        with self._open() as ledger:
            return int(ledger.execute(LAST).fetchone()[0])

    def rows(self, after: int) -> Iterator[EffectRow | EntryRow]:
        """Every effect behind that number, then every entry that they touched; as of one moment.

        Raises:
            EvidenceError: it cannot be read, or not to its end.
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
