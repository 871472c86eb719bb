"""The ledger's tables, and the statements that read and write them, for every storage alike.

A storage runs a statement by its `Execute`; its Transaction has the few that differ. Text is
compared byte by byte everywhere, as SQLite does: in MariaDB that takes a collation of its own. A
name in double quotes is a column, in MariaDB by ANSI_QUOTES.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from msgspec.structs import asdict

from services.api.ledger import rules
from services.api.ledger.entry import EntryList, LedgerEntry, Write, WriteAnswer, timestamp
from services.common.identity import Identity

SCHEMA_VERSION = 2

Value = TypeVar("Value")

# `effects` is the source of truth: one row for each applied write, in the write's own transaction.
# (entry_id, version) is unique in it. SQLite numbers rows in the order of commits, a server when
# they are inserted. In SQLite BIGINT is INTEGER, VARCHAR is TEXT and DOUBLE PRECISION is REAL.
SCHEMA = """
CREATE TABLE{unless_there} entries (
    seq {row_number},
    id VARCHAR(64) NOT NULL UNIQUE,
    account VARCHAR(64) NOT NULL,
    amount BIGINT NOT NULL,
    memo VARCHAR(500) NOT NULL,
    version BIGINT NOT NULL,
    created_at VARCHAR(32) NOT NULL,
    updated_at VARCHAR(32) NOT NULL
){options};
CREATE INDEX{unless_there} entries_by_account ON entries (account, seq);
CREATE TABLE{unless_there} deleted (
    entry_id VARCHAR(64) PRIMARY KEY,
    version BIGINT NOT NULL
){without_row_number};
CREATE TABLE{unless_there} {keys} (
    "key" VARCHAR(255) NOT NULL {unique_key},
    fingerprint {hash} NOT NULL,
    status INTEGER NOT NULL,
    body {body} NOT NULL,
    etag VARCHAR(32),
    location VARCHAR(255),
    expires DOUBLE PRECISION NOT NULL
){options};
CREATE INDEX{unless_there} keys_by_expiry ON {keys} (expires);
CREATE TABLE{unless_there} effects (
    seq {row_number},
    request_id VARCHAR(255) NOT NULL,
    "key" VARCHAR(255),
    op VARCHAR(16) NOT NULL,
    entry_id VARCHAR(64) NOT NULL,
    version BIGINT NOT NULL,
    instance VARCHAR(64) NOT NULL,
    boot VARCHAR(64) NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    amount BIGINT{unique_version}
){options}
"""
# Brings a schema of version 1 to this version, while other processes use it.
FROM_VERSION_1 = "ALTER TABLE effects ADD COLUMN amount BIGINT"

COLUMNS = ", ".join(LedgerEntry.__struct_fields__)
ENTRY_BY_ID = f"SELECT {COLUMNS} FROM entries WHERE id = :id"
STORED_ANSWER = 'SELECT fingerprint, status, body, etag, location FROM {} WHERE "key" = :key'
# Limits of a list -> the condition on an entry.
FILTERS = {
    "before": "seq < :before",
    "account": "account = :account",
    "min_amount": "amount >= :min_amount",
    "max_amount": "amount <= :max_amount",
}

# Executes a statement with a value for each of its `:names`; the cursor of SQLite or SQLAlchemy.
Execute = Callable[[str, Mapping[str, object]], Any]


def find_entry(execute: Execute, entry_id: str, statement: str = ENTRY_BY_ID) -> LedgerEntry | None:
    """The entry, or None."""
    row = execute(statement, {"id": entry_id}).fetchone()
    return LedgerEntry(*row) if row else None


class LedgerStore(ABC):
    """A store of entries. Its coroutines run on the event loop and never block it."""

    def __init__(self) -> None:
        self.commits = 0  # since it was opened, as the operations
        self.operations = 0
        self.waiting = 0

    @abstractmethod
    async def apply(self, write: Write) -> WriteAnswer:
        """Execute `write` and answer once its effect is durable.

        ApiError if 503, the storage is locked, away or has too much waiting; nothing was written.
        """

    @abstractmethod
    async def read(self, select: Callable[[Execute], Value]) -> Value:
        """What `select` finds."""

    async def get(self, entry_id: str) -> LedgerEntry | None:
        """The entry, or None."""
        return await self.read(lambda execute: find_entry(execute, entry_id))

    async def list(self, limit: int, **wanted: str | int | None) -> EntryList:
        """The newest entries, at most `limit`, within those of FILTERS that are not None."""
        given = [clause for name, clause in FILTERS.items() if wanted[name] is not None]
        where = f"WHERE {' AND '.join(given)} " if given else ""
        statement = f"SELECT seq, {COLUMNS} FROM entries {where}ORDER BY seq DESC LIMIT :limit"
        values = wanted | {"limit": limit + 1}
        rows = await self.read(lambda execute: execute(statement, values).fetchall())
        shown = rows[:limit]
        more = len(rows) > limit
        return EntryList([LedgerEntry(*row[1:]) for row in shown], shown[-1][0] if more else None)

    @abstractmethod
    async def close(self) -> None:
        """Finish the waiting operations, then close the storage. Ask it nothing afterwards."""


class Transaction:
    """One write transaction at a Unix time; the storage begins and commits it."""

    entry_to_write: ClassVar[str] = ENTRY_BY_ID
    stored_answer: ClassVar[str]  # by its key
    store_answer: ClassVar[str]  # with its key

    def __init__(self, execute: Execute, identity: Identity, at: float) -> None:
        self._execute = execute
        self._identity = identity
        self._at = at
        self._now = timestamp(at)

    def apply(self, write: Write) -> WriteAnswer:
        """Execute `write` once: a key that was answered before gets its stored answer again."""
        key = write.key
        if key is None:
            return self._decide(write)
        expires = self._at + key.keep_s
        kept = {"key": key.text, "fingerprint": key.fingerprint, "expires": expires}
        if row := self._stored_answer(kept):
            fingerprint, status, body, *headers = row
            return rules.replay(key, fingerprint, WriteAnswer(status, body, *headers))
        answer = self._decide(write)
        self._execute(self.store_answer, kept | asdict(answer))
        return answer

    def _stored_answer(self, kept: Mapping[str, object]) -> Any:
        """The row of a key: fingerprint, status, body, ETag, Location; None when it is new."""
        return self._execute(self.stored_answer, kept).fetchone()

    def _decide(self, write: Write) -> WriteAnswer:
        entry = find_entry(self._execute, write.entry_id, self.entry_to_write)
        deleted = 0
        if entry is None:
            select = "SELECT version FROM deleted WHERE entry_id = :id"
            row = self._execute(select, {"id": write.entry_id}).fetchone()
            deleted = row[0] if row else 0
        answer, change = rules.decide(write, entry, deleted, self._now)
        if change is not None:
            self._carry_out(change)
            self._insert("effects", rules.effect_row(write, change, self._identity, self._at))
        return answer

    def _carry_out(self, change: rules.Change) -> None:
        entry = asdict(change.entry)
        if change.how == "insert":
            self._insert("entries", entry)
        elif change.how == "update":
            self._execute(
                "UPDATE entries SET account = :account, amount = :amount, memo = :memo,"
                " version = :version, updated_at = :updated_at WHERE id = :id",
                entry,
            )
        else:
            self._execute("DELETE FROM entries WHERE id = :id", entry)
            # No other transaction deletes this entry at this moment: its row was locked.
            deleted = {"entry_id": change.entry.id, "version": change.version}
            update = "UPDATE deleted SET version = :version WHERE entry_id = :entry_id"
            if self._execute(update, deleted).rowcount == 0:
                self._insert("deleted", deleted)

    def _insert(self, table: str, row: dict[str, object]) -> None:
        self._execute(_insert_into(table, tuple(row)), row)


@lru_cache
def _insert_into(table: str, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    places = ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({places})"
