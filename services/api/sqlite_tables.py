"""The ledger's tables in SQLite: the schema, and every statement that reads or writes them."""

import sqlite3

import msgspec

from services.api import rules
from services.api.ledger import Answer, Entry, Key, Query, Write, timestamp
from services.identity import Identity

SCHEMA_VERSION = 1

# `effects` is the source of truth about what was done: one row for each applied write, in the
# order of commits, in the same transaction as the write. (entry_id, version) is unique in it.
SCHEMA = """
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    amount INTEGER NOT NULL,
    memo TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX entries_by_account ON entries (account, seq);
CREATE TABLE deleted (
    entry_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE keys (
    key TEXT NOT NULL UNIQUE,
    fingerprint BLOB NOT NULL,
    status INTEGER NOT NULL,
    body BLOB NOT NULL,
    etag TEXT,
    location TEXT,
    expires REAL NOT NULL
);
CREATE INDEX keys_by_expiry ON keys (expires);
CREATE TABLE effects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL,
    key TEXT,
    op TEXT NOT NULL,
    entry_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    instance TEXT NOT NULL,
    boot TEXT NOT NULL,
    at REAL NOT NULL
)
"""

COLUMNS = "id, account, amount, memo, version, created_at, updated_at"


def schema_version(connection: sqlite3.Connection) -> int:
    """The version of the schema that the file has; 0 when it has none."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def create_schema(connection: sqlite3.Connection) -> None:
    """Create the tables unless another process just did; call it inside a write transaction.

    Raises:
        sqlite3.DatabaseError: the file has a schema of another version of this program.
    """
    found = schema_version(connection)
    if found == SCHEMA_VERSION:
        return
    if found:
        raise sqlite3.DatabaseError(f"its schema is version {found}, not {SCHEMA_VERSION}")
    for statement in SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


class SqliteTransaction:
    """One write transaction; the caller begins and commits it."""

    def __init__(self, connection: sqlite3.Connection, identity: Identity, at: float) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._identity = identity
        self._at = at
        self._now = timestamp(at)

    def apply(self, write: Write) -> Answer:
        """Execute `write` once: a key that was answered before gets its stored answer again."""
        if write.key is None:
            return self._decide(write)
        row = self._execute(
            "SELECT fingerprint, status, body, etag, location FROM keys WHERE key = ?",
            (write.key.text,),
        ).fetchone()
        if row:
            return rules.replay(write.key, row[0], Answer(*row[1:]))
        answer = self._decide(write)
        self._store_answer(write.key, answer)
        return answer

    def _decide(self, write: Write) -> Answer:
        entry = select_entry(self._connection, write.entry_id)
        deleted = 0 if entry else self._deleted_version(write.entry_id)
        answer, change = rules.decide(write, entry, deleted, self._now)
        if change is not None:
            self._carry_out(change)
            self._note_effect(write, change.version)
        return answer

    def _carry_out(self, change: rules.Change) -> None:
        entry = change.entry
        if change.how == "insert":
            self._execute(
                f"INSERT INTO entries ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                msgspec.structs.astuple(entry),
            )
        elif change.how == "update":
            self._execute(
                "UPDATE entries SET account = ?, amount = ?, memo = ?, version = ?, updated_at = ?"
                " WHERE id = ?",
                (
                    entry.account,
                    entry.amount,
                    entry.memo,
                    entry.version,
                    entry.updated_at,
                    entry.id,
                ),
            )
        else:
            self._execute("DELETE FROM entries WHERE id = ?", (entry.id,))
            self._execute(
                "INSERT OR REPLACE INTO deleted (entry_id, version) VALUES (?, ?)",
                (entry.id, change.version),
            )

    def _deleted_version(self, entry_id: str) -> int:
        row = self._execute(
            "SELECT version FROM deleted WHERE entry_id = ?", (entry_id,)
        ).fetchone()
        return row[0] if row else 0

    def _store_answer(self, key: Key, answer: Answer) -> None:
        self._execute(
            "INSERT INTO keys (key, fingerprint, status, body, etag, location, expires)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                key.text,
                key.fingerprint,
                answer.status,
                answer.body,
                answer.etag,
                answer.location,
                self._at + key.keep_s,
            ),
        )

    def _note_effect(self, write: Write, version: int) -> None:
        self._execute(
            "INSERT INTO effects (request_id, key, op, entry_id, version, instance, boot, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                write.request_id,
                write.key and write.key.text,
                write.op,
                write.entry_id,
                version,
                self._identity.instance,
                self._identity.boot,
                self._at,
            ),
        )

    def delete_expired_keys(self, limit: int) -> int:
        """Delete at most `limit` keys that were kept long enough; how many were deleted."""
        return self._execute(
            "DELETE FROM keys WHERE rowid IN"
            " (SELECT rowid FROM keys WHERE expires < ? ORDER BY expires LIMIT ?)",
            (self._at, limit),
        ).rowcount


def select_entry(connection: sqlite3.Connection, entry_id: str) -> Entry | None:
    """The entry, or None."""
    row = connection.execute(f"SELECT {COLUMNS} FROM entries WHERE id = ?", (entry_id,)).fetchone()
    return row and Entry(*row)


def select_entries(connection: sqlite3.Connection, query: Query) -> list[tuple[int, Entry]]:
    """The entries that `query` asks for and one more, newest first, each with its place."""
    filters = {
        "seq < ?": query.before,
        "account = ?": query.account,
        "amount >= ?": query.min_amount,
        "amount <= ?": query.max_amount,
    }
    given = {clause: value for clause, value in filters.items() if value is not None}
    where = f"WHERE {' AND '.join(given)} " if given else ""
    rows = connection.execute(
        f"SELECT seq, {COLUMNS} FROM entries {where}ORDER BY seq DESC LIMIT ?",
        (*given.values(), query.limit + 1),
    )
    return [(row[0], Entry(*row[1:])) for row in rows]
