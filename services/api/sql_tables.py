"""The ledger's tables on a database server, and every statement, for all servers alike.

The same tables as in SQLite (sqlite_tables.py). Text is compared octet by octet everywhere, as
SQLite does: in MariaDB that takes a collation of its own.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.dml import Insert

from services.api.ledger import MAX_MEMO, Query

SCHEMA_VERSION = 1

METADATA = MetaData()
# The octets decide, and a space at the end counts.
OCTETS = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_nopad_bin"}
NAME = 64  # of an account, an entry, an instance
ID = 255  # of a request, and of a key
BODY = 65535  # MariaDB's smallest that takes an entry whose memo is all escapes


def _table(name: str, *columns: Any) -> Table:
    return Table(name, METADATA, *columns, **OCTETS)  # type: ignore[call-overload,no-any-return]  # dialects' options


schema = _table(
    "ledger_schema",
    Column("version", Integer, primary_key=True, autoincrement=False),
)
entries = _table(
    "entries",
    # Servers number rows when they are inserted, not when they are committed.
    Column("seq", BigInteger, primary_key=True),
    Column("id", String(NAME), nullable=False, unique=True),
    Column("account", String(NAME), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("memo", String(MAX_MEMO), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("updated_at", String(32), nullable=False),
)
Index("entries_by_account", entries.c.account, entries.c.seq)
deleted = _table(
    "deleted",
    Column("entry_id", String(NAME), primary_key=True),
    Column("version", BigInteger, nullable=False),
)
# `body` is empty while the write is under way; nobody else sees that before it is committed.
keys = _table(
    "idempotency_keys",
    Column("key", String(ID), primary_key=True),
    Column("fingerprint", LargeBinary(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", LargeBinary(BODY), nullable=False),
    Column("etag", String(32)),
    Column("location", String(ID)),
    Column("expires", Double, nullable=False),
)
Index("keys_by_expiry", keys.c.expires)
effects = _table(
    "effects",
    Column("seq", BigInteger, primary_key=True),
    Column("request_id", String(ID), nullable=False),
    Column("key", String(ID)),
    Column("op", String(16), nullable=False),
    Column("entry_id", String(NAME), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("instance", String(NAME), nullable=False),
    Column("boot", String(NAME), nullable=False),
    Column("at", Double, nullable=False),
    # No version of an entry is ever made twice, whatever two writes see of each other.
    UniqueConstraint("entry_id", "version", name="effects_by_entry"),
)

ENTRY = (
    entries.c.id,
    entries.c.account,
    entries.c.amount,
    entries.c.memo,
    entries.c.version,
    entries.c.created_at,
    entries.c.updated_at,
)
ENTRY_BY_ID = select(*ENTRY).where(entries.c.id == bindparam("entry_id"))
LOCKED_ENTRY = ENTRY_BY_ID.with_for_update()
DELETED_VERSION = select(deleted.c.version).where(deleted.c.entry_id == bindparam("entry_id"))
STORED_ANSWER = select(
    keys.c.fingerprint, keys.c.status, keys.c.body, keys.c.etag, keys.c.location
).where(keys.c.key == bindparam("text"))
STORE_ANSWER = (
    update(keys)
    .where(keys.c.key == bindparam("text"))
    .values({name: bindparam(f"new_{name}") for name in ("status", "body", "etag", "location")})
)
UPDATE_ENTRY = (
    update(entries)
    .where(entries.c.id == bindparam("entry_id"))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("account", "amount", "memo", "version", "updated_at")
        }
    )
)
DELETE_ENTRY = delete(entries).where(entries.c.id == bindparam("entry_id"))
UPDATE_DELETED = (
    update(deleted)
    .where(deleted.c.entry_id == bindparam("gone_id"))
    .values(version=bindparam("gone_version"))
)
# Rows that another process is about to delete are left to it.
EXPIRED_KEYS = (
    select(keys.c.key)
    .where(keys.c.expires < bindparam("at"))
    .order_by(keys.c.expires)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True)
)
DELETE_KEYS = delete(keys).where(keys.c.key.in_(bindparam("texts", expanding=True)))


def insert_unless_there(table: Table, dialect: str) -> Insert:
    """An insert that does nothing, with a row count of 0, when the row is there already.

    While another transaction has inserted it and is not over, this waits for its end.
    """
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return insert(table).prefix_with("IGNORE")


def page(query: Query) -> Select[Any]:
    """The entries that `query` asks for and one more, newest first, each behind its place."""
    found = select(entries.c.seq, *ENTRY)
    if query.before is not None:
        found = found.where(entries.c.seq < query.before)
    if query.account is not None:
        found = found.where(entries.c.account == query.account)
    if query.min_amount is not None:
        found = found.where(entries.c.amount >= query.min_amount)
    if query.max_amount is not None:
        found = found.where(entries.c.amount <= query.max_amount)
    return found.order_by(entries.c.seq.desc()).limit(query.limit + 1)
