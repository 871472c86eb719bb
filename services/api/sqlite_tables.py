"""The ledger's tables in SQLite: the schema, and every statement that reads or writes them."""

import sqlite3
from datetime import UTC, datetime

from services.api.ledger import Answer, Entry, Key, Query, Write
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
    """One write transaction, as rules.py uses it; the caller begins and commits it."""

    def __init__(self, connection: sqlite3.Connection, identity: Identity, at: float) -> None:
        self._execute = connection.execute
        self._identity = identity
        self._at = at
        moment = datetime.fromtimestamp(at, UTC)
        self._now = moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"

    @property
    def now(self) -> str:
        """The time of this transaction, RFC 3339 in UTC."""
        return self._now

    def stored_answer(self, key: str) -> tuple[bytes, Answer] | None:
        """The fingerprint and the answer that are stored with `key`."""
        row = self._execute(
            "SELECT fingerprint, status, body, etag, location FROM keys WHERE key = ?", (key,)
        ).fetchone()
        return row and (row[0], Answer(*row[1:]))

    def store_answer(self, key: Key, answer: Answer) -> None:
        """Keep `answer` for replays of `key`."""
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

    def entry(self, entry_id: str) -> Entry | None:
        """The entry, or None."""
        row = self._execute(f"SELECT {COLUMNS} FROM entries WHERE id = ?", (entry_id,)).fetchone()
        return row and Entry(*row)

    def deleted_version(self, entry_id: str) -> int:
        """The version that the deletion of `entry_id` had; 0 when it was never deleted."""
        row = self._execute(
            "SELECT version FROM deleted WHERE entry_id = ?", (entry_id,)
        ).fetchone()
        return row[0] if row else 0

    def insert(self, entry: Entry) -> None:
        """Add a new entry."""
        self._execute(
            f"INSERT INTO entries ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                entry.id,
                entry.account,
                entry.amount,
                entry.memo,
                entry.version,
                entry.created_at,
                entry.updated_at,
            ),
        )

    def update(self, entry: Entry) -> None:
        """Put `entry` in the place of the one with its id."""
        self._execute(
            "UPDATE entries SET account = ?, amount = ?, memo = ?, version = ?, updated_at = ?"
            " WHERE id = ?",
            (entry.account, entry.amount, entry.memo, entry.version, entry.updated_at, entry.id),
        )

    def delete(self, entry: Entry, version: int) -> None:
        """Remove `entry`; its deletion is version `version`."""
        self._execute("DELETE FROM entries WHERE id = ?", (entry.id,))
        self._execute(
            "INSERT OR REPLACE INTO deleted (entry_id, version) VALUES (?, ?)", (entry.id, version)
        )

    def note_effect(self, write: Write, version: int) -> None:
        """Add the effects row of one applied write."""
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
