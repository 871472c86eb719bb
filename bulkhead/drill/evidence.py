"""The part of a stack's rows and ledger that was written during one run."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bulkhead.accounting.load import Effect
from bulkhead.drill.tail import CHUNK, Tail
from bulkhead.errors import ConfigError, EvidenceError
from bulkhead.records import EffectRow, EntryRow, encode
from bulkhead.render.paths import Home
from bulkhead.rundir import RunDir
from bulkhead.topology.model import Topology


@dataclass(frozen=True)
class Mark:
    """What the stack writes from one moment on."""

    proxy: Tail
    service: Tail
    watch: Tail
    effects: int


def require_file(topology: Topology) -> None:
    """Refuse a ledger whose effects cannot be read: nothing could be said of what was written.

    Raises:
        ConfigError: it is on a database server.
    """
    if url := topology.file.stack.ledger_url:
        raise ConfigError(
            f"{topology.source}: stack.ledger_url = {json.dumps(url)}: a load or a drill reads the "
            "ledger's file to see what became of every write, and cannot read a server's yet; "
            "leave it away"
        )


def mark(home: Home) -> Mark:
    """From now on."""
    return Mark(
        Tail(home.proxy_rows),
        Tail(home.service_rows),
        Tail(home.watch_rows),
        _last_effect(home.ledger),
    )


def keep(since: Mark, run: RunDir) -> None:
    """Copy the rows that were written since a mark into the run folder, once."""
    since.proxy.copy(run.proxy_rows)
    since.service.copy(run.service_rows)
    since.watch.copy(run.watch_rows)


def effects(home: Home, since: Mark) -> list[Effect]:
    """What the ledger applied since a mark, in the order of application."""
    if not home.ledger.exists():
        return []
    with closing(_open(home.ledger)) as ledger:
        return ledger.execute(
            "SELECT request_id, key, op, entry_id, version FROM effects WHERE seq > ? ORDER BY seq",
            (since.effects,),
        ).fetchall()


def keep_ledger(home: Home, since: Mark, run: RunDir) -> None:
    """Write what the ledger applied since a mark, and how it holds every entry touched by that.

    Raises:
        EvidenceError: the ledger cannot be read.
    """
    if not home.ledger.exists():
        return
    try:
        _keep_ledger(home, since, run)
    except sqlite3.Error as error:
        raise EvidenceError(f"{home.ledger}: cannot be read: {error}") from error


def _keep_ledger(home: Home, since: Mark, run: RunDir) -> None:
    with closing(_open(home.ledger)) as ledger:
        ledger.execute("BEGIN")  # both as of one moment: a write may still come in between
        applied = ledger.execute(
            "SELECT seq, request_id, key, op, entry_id, version, instance, boot, at"
            " FROM effects WHERE seq > ? ORDER BY seq",
            (since.effects,),
        )
        _write(run.effects, (EffectRow(*row) for row in applied))
        touched = ledger.execute(
            "SELECT id, version, 0 FROM entries"
            " WHERE id IN (SELECT entry_id FROM effects WHERE seq > ?)"
            " UNION ALL SELECT entry_id, version, 1 FROM deleted"
            " WHERE entry_id IN (SELECT entry_id FROM effects WHERE seq > ?)",
            (since.effects, since.effects),
        )
        _write(run.entries, (EntryRow(id_, version, bool(gone)) for id_, version, gone in touched))


def keep_logs(home: Home, run: RunDir) -> None:
    """Copy what nginx, supervisord and the instances printed, each file's last megabyte."""
    run.log.mkdir()
    for path in sorted(
        path for kind in ("*.log", "*.log.[0-9]*", "*.log.old") for path in home.log.glob(kind)
    ):
        with path.open("rb") as lines:
            lines.seek(max(0, path.stat().st_size - CHUNK))
            (run.log / path.name).write_bytes(lines.read())


def _write(path: Path, rows: Iterable[EffectRow | EntryRow]) -> None:
    with path.open("wb") as out:
        out.writelines(encode(row) + b"\n" for row in rows)


def _last_effect(ledger: Path) -> int:
    if not ledger.exists():
        return 0
    with closing(_open(ledger)) as database:
        (last,) = database.execute("SELECT coalesce(max(seq), 0) FROM effects").fetchone()
        return int(last)


def _open(ledger: Path) -> sqlite3.Connection:
    """For reading only: whoever measures must not be able to change what is measured."""
    return sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=10)
