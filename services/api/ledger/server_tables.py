"""What is a database server's own about the ledger's tables: how they are made, and their locks.

Isolation is READ COMMITTED, and locks keep two transactions from the same key or entry. Each
transaction takes its locks in the same order, so that no two wait for each other: the key, the
entry. Two writes that create one id at the same moment still collide: one fails by a unique index
or as a deadlock, and its whole transaction is tried again.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, bindparam, inspect, text
from sqlalchemy.exc import NoResultFound

from services.api.ledger.entry import LedgerError
from services.api.ledger.tables import (
    ENTRY_BY_ID,
    FROM_VERSION_1,
    SCHEMA,
    SCHEMA_VERSION,
    STORED_ANSWER,
    Execute,
    Transaction,
)
from services.common.identity import Identity

KEYS = "idempotency_keys"
# The bytes of a text decide, and a space at its end counts.
BYTEWISE = " CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
# An insert that does nothing, with a row count of 0, when the row is there already. While another
# transaction has inserted it and is not over, this waits for its end. Status and body are those of
# a write that is under way; no other transaction sees them before the commit.
CLAIM = (
    f'INTO {KEYS} ("key", fingerprint, status, body, expires)'
    " VALUES (:key, :fingerprint, 0, '', :expires)"
)
# What differs in the schema and the statements. 65535 bytes take an entry whose memo is all
# escapes. One process creates the tables: two at once would find each other's half.
DIALECTS = {
    "postgresql": {
        "row_number": "BIGSERIAL PRIMARY KEY",
        "hash": "BYTEA",
        "body": "BYTEA",
        "options": "",
        "lock": "SELECT pg_advisory_lock(hashtext('bulkhead'))",
        "unlock": "SELECT pg_advisory_unlock(hashtext('bulkhead'))",
        "claim": f"INSERT {CLAIM} ON CONFLICT DO NOTHING",
    },
    "mysql": {
        "row_number": "BIGINT PRIMARY KEY AUTO_INCREMENT",
        "hash": "BLOB(64)",
        "body": "BLOB(65535)",
        "options": BYTEWISE,
        "lock": "SELECT GET_LOCK('bulkhead', 2)",
        "unlock": "SELECT RELEASE_LOCK('bulkhead')",
        "claim": f"INSERT IGNORE {CLAIM}",
    },
}
# Rows that another process is about to delete are left to it.
EXPIRED_KEYS = text(
    f'SELECT "key" FROM {KEYS} WHERE expires < :at ORDER BY expires LIMIT :at_most'
    " FOR UPDATE SKIP LOCKED"
)
DELETE_KEYS = text(f'DELETE FROM {KEYS} WHERE "key" IN :texts').bindparams(
    bindparam("texts", expanding=True)
)

_statement = lru_cache(text)


def executor(connection: Connection) -> Execute:
    """What executes the ledger's statements on `connection`."""
    return lambda statement, values: connection.execute(_statement(statement), values)


def create_schema(connection: Connection) -> None:
    """Create the tables, or bring them up to date, unless they are there.

    Raises:
        LedgerError: they are those of another version of this program.
    """
    dialect = DIALECTS[connection.dialect.name]
    connection.execute(text(dialect["lock"]))
    try:
        if not inspect(connection).has_table("ledger_schema"):
            _create_tables(connection)
        version = connection.scalar(text("SELECT version FROM ledger_schema"))
        if version is None:
            version = SCHEMA_VERSION
            connection.execute(text(f"INSERT INTO ledger_schema VALUES ({version})"))
        elif version == 1:
            version = SCHEMA_VERSION
            connection.execute(text(FROM_VERSION_1))
            connection.execute(text(f"UPDATE ledger_schema SET version = {version}"))
        connection.commit()
    except BaseException:
        connection.invalidate()  # the lock goes with the connection
        raise
    connection.execute(text(dialect["unlock"]))
    if version != SCHEMA_VERSION:
        raise LedgerError(f"its schema is version {version}, not {SCHEMA_VERSION}")


def _create_tables(connection: Connection) -> None:
    dialect = DIALECTS[connection.dialect.name]
    last = "CREATE TABLE{unless_there} ledger_schema (version INTEGER PRIMARY KEY){options}"
    statements = f"{SCHEMA};{last}".format(
        **dialect,
        # Where a server was lost between two of them.
        unless_there=" IF NOT EXISTS",
        without_row_number=dialect["options"],
        keys=KEYS,
        unique_key="PRIMARY KEY",
        # No version of an entry is ever made twice, whatever two writes see of each other.
        unique_version=",\n    CONSTRAINT effects_by_entry UNIQUE (entry_id, version)",
    )
    for statement in statements.split(";"):
        connection.execute(text(statement))


def delete_expired_keys(connection: Connection, at: float, at_most: int) -> None:
    """Delete at most so many keys that were kept long enough."""
    expired = connection.execute(EXPIRED_KEYS, {"at": at, "at_most": at_most})
    if texts := list(expired.scalars()):
        connection.execute(DELETE_KEYS, {"texts": texts})


class ServerTransaction(Transaction):
    """One write on a server."""

    entry_to_write = f"{ENTRY_BY_ID} FOR UPDATE"
    stored_answer = STORED_ANSWER.format(KEYS)
    store_answer = (
        f"UPDATE {KEYS} SET status = :status, body = :body, etag = :etag, location = :location"
        ' WHERE "key" = :key'
    )

    def __init__(self, connection: Connection, identity: Identity, at: float) -> None:
        super().__init__(executor(connection), identity, at)
        self._claim_key = DIALECTS[connection.dialect.name]["claim"]

    def _stored_answer(self, kept: Mapping[str, object]) -> Any:
        if self._execute(self._claim_key, kept).rowcount == 1:
            return None
        row = self._execute(self.stored_answer, kept).fetchone()
        if row is None:
            raise NoResultFound  # it was there a moment ago, and has just expired
        return row
