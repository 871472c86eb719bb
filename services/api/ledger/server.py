"""The ledger on a database server, PostgreSQL or MariaDB, which all instances of all hosts share.

A server can be away: killed, restarted, cut off. Then an operation waits and is tried again, for
as long as it may wait for a lock in SQLite. Once the server has been away for longer, operations
are refused at once, except one that asks whether it is back. A write whose connection broke in the
middle of its COMMIT is not tried again: it may have been done or not.

Isolation is READ COMMITTED, and locks keep two transactions from the same key or entry. Each
transaction takes its locks in the same order, so that no two wait for each other: the key, the
entry. Two writes that create one id at the same moment still collide: one fails by a unique index
or as a deadlock, and its whole transaction is tried again.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, NoResultFound, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import Pool
from sqlalchemy.util import greenlet_spawn

from services.api.errors import ApiError
from services.api.ledger import tables
from services.api.ledger.entry import MAX_WAITING, PATIENCE_S, LedgerError, Write, WriteAnswer
from services.api.ledger.tables import Execute, LedgerStore, Transaction, Value
from services.common.identity import Identity

log = logging.getLogger("bulkhead.api.ledger")

# One try may take so long; a server that is silent for longer is as good as dead. Long enough for a
# commit on a busy disk, short enough for a second try within the patience.
TRY_S = 2.0
# Between two tries; a server that is back is found this soon.
AGAIN_S = 0.05
EXPIRE_S = 1.0
EXPIRE_AT_MOST = 1000

# The scheme of a ledger's URL -> SQLAlchemy's name for it and for the driver.
DRIVERS = {"postgresql": "postgresql+asyncpg", "mariadb": "mysql+asyncmy"}
# Connections of one process. A transaction is a millisecond or two; more would only wait for each
# other's locks, and a server has a hundred for all.
CONNECTIONS = 5
CONNECT_S = 2
# A client that vanished in the middle of a transaction must not keep its locks: milliseconds.
IDLE_MS, STATEMENT_MS = 5000, 5000
# Both below TRY_S: a wait among ourselves says nothing about the server, and must end before it
# looks as if the server were away.
LOCK_MS, POOL_S = 1000, 1

# A collision: this transaction has lost against another one. Away: the server cannot be spoken to.
# "": a fault of this program.
Trouble = Literal["", "collision", "away"]

# SQLSTATE of PostgreSQL (its manual, appendix A): 40 the transaction was rolled back, 55P03 no lock
# in time, 57014 the statement took too long; 08 the connection, 57P0x it shuts down or starts,
# 53300 it has no connection left, 25P03 it has ended the session; 28, 3D the password or the
# database is wrong, which an operator can mend without starting us again.
POSTGRESQL_COLLISIONS = ("40", "55P03", "57014")
POSTGRESQL_AWAY = ("08", "57P0", "53300", "25P03", "28", "3D")
# Errors of MariaDB (its knowledge base, "MariaDB Error Codes"): lock wait timeout, deadlock, the
# statement took too long; 2xxx are the client's own about its connection, 0 is the driver's, 1044,
# 1045 and 1049 the user, the password, the database.
MARIADB_COLLISIONS = (1205, 1213, 1969)
MARIADB_AWAY = (
    *(0, 1040, 1044, 1045, 1049, 1053, 1152, 1158, 1159, 1160, 1161),
    *(1927, 2002, 2003, 2006, 2013, 2055),
)

# The failures of a server; `trouble` sorts them.
FAILURES = (SQLAlchemyError, OSError, TimeoutError, LedgerError)

# A pool reports each lost connection with a traceback; the ledger says it once, in a line.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

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
# The differences in the schema and the statements. 65535 bytes take an entry whose memo is all
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
VERSION_TABLE = "CREATE TABLE{unless_there} ledger_schema (version INTEGER PRIMARY KEY){options}"
# Rows that another process is about to delete are left to it.
EXPIRED_KEYS = text(
    f'SELECT "key" FROM {KEYS} WHERE expires < :at ORDER BY expires LIMIT :at_most'
    " FOR UPDATE SKIP LOCKED"
)
DELETE_KEYS = text(f'DELETE FROM {KEYS} WHERE "key" IN :texts').bindparams(
    bindparam("texts", expanding=True)
)

Work = Callable[[Connection], Value]


class ServerLedger(LedgerStore):
    """A ledger on the server that `url` names.

    It opens without the server: an instance that can do nothing else still says so.
    """

    def __init__(self, url: str, password: str, identity: Identity) -> None:
        super().__init__()
        self._identity = identity
        self._server = make_url(url).render_as_string()
        self._engine = make_engine(url, password, identity.instance)
        self._away_since: float | None = None
        self._served_at = 0.0  # when a try has last succeeded
        self._asking = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._schema_known = False
        self._expiring = asyncio.get_running_loop().create_task(self._expire())

    async def apply(self, write: Write) -> WriteAnswer:
        def work(connection: Connection) -> WriteAnswer:
            return ServerTransaction(connection, self._identity, time.time()).apply(write)

        answer = await self._do(work, writes=True)
        self.commits += 1  # each write is a transaction of its own
        self.operations += 1
        return answer

    async def read(self, select: Callable[[Execute], Value]) -> Value:
        return await self._do(lambda connection: select(executor(connection)), writes=False)

    async def close(self) -> None:
        self._expiring.cancel()
        await asyncio.gather(self._expiring, return_exceptions=True)
        await self._engine.dispose()

    async def _do(self, work: Work[Value], writes: bool) -> Value:
        """Do `work` in a transaction of its own, as often as it takes, within the patience.

        ApiError if 503, nothing was done; 504, the connection broke while a COMMIT was under way.
        """
        if self.waiting >= MAX_WAITING:
            raise ApiError("overloaded", kind="writes" if writes else "reads", limit=MAX_WAITING)
        self.waiting += 1
        deadline = time.monotonic() + PATIENCE_S
        try:
            while True:
                try:
                    return await self._attempt(work, writes)
                except FAILURES as error:
                    kind = trouble(error)
                    if not kind:
                        raise
                    late = time.monotonic() + AGAIN_S > deadline
                    if late and kind == "collision":
                        raise ApiError("ledger_busy", waited_s=PATIENCE_S) from error
                    if late or self._away_for_long():
                        raise ApiError("ledger_unreachable", waited_s=PATIENCE_S) from error
                await asyncio.sleep(AGAIN_S)
        finally:
            self.waiting -= 1

    async def _attempt(self, work: Work[Value], writes: bool) -> Value:
        """One try; of a server that has been away for long, only one at a time."""
        if not self._away_for_long():
            return await self._try(work, writes)
        if self._asking.locked():
            raise ApiError("ledger_unreachable", waited_s=PATIENCE_S)
        async with self._asking:
            return await self._try(work, writes)

    async def _try(self, work: Work[Value], writes: bool) -> Value:
        """One try; it notes whether the server is there."""
        started = time.monotonic()
        committing = False
        try:
            async with asyncio.timeout(TRY_S), self._engine.connect() as connection:
                if not self._schema_known:
                    await connection.run_sync(create_schema)
                    self._schema_known = True
                value = await connection.run_sync(work)
                if writes:
                    committing = True
                    await connection.commit()
        except FAILURES as error:
            kind = trouble(error)
            in_doubt = committing and kind != "collision"
            # Silence says that the server is away only if it has served no other try since. A
            # server that is slow with one try is there, and dropping its connections would make it
            # slower still, for as long as the load lasts.
            slow = isinstance(error, TimeoutError) and self._served_at > started
            if (in_doubt or kind == "away") and not slow:
                self._note_away(error)
            if in_doubt:
                raise ApiError("ledger_in_doubt") from error
            raise
        self._served_at = time.monotonic()
        if self._away_since is not None:
            away_s = self._served_at - self._away_since
            log.warning("%s is back after %.1f s", self._server, away_s)
            self._away_since = None
        return value

    def _note_away(self, error: Exception) -> None:
        if self._away_since is not None:
            return
        self._away_since = time.monotonic()
        log.warning("%s is away: %s", self._server, reason(error))
        # Connections that wait in the pool are as dead as this one: no other try need find out.
        old = self._engine.sync_engine.pool
        self._engine.sync_engine.dispose(close=False)
        closing = asyncio.create_task(_close(old))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _away_for_long(self) -> bool:
        since = self._away_since
        return since is not None and time.monotonic() - since > PATIENCE_S

    async def _expire(self) -> None:
        """Delete keys that were kept long enough, for ever."""
        while True:
            await asyncio.sleep(EXPIRE_S)
            with suppress(ApiError, *FAILURES):  # the next time is soon
                await self._attempt(_delete_expired_keys, writes=True)


async def _close(pool: Pool) -> None:
    """Close the connections of an old pool; a dead server does not answer that."""
    with suppress(*FAILURES):
        async with asyncio.timeout(TRY_S):
            await greenlet_spawn(pool.dispose)


def make_engine(
    url: str, password: str, name: str, statement_ms: int = STATEMENT_MS
) -> AsyncEngine:
    """The pool of connections to the server that `url` names; nothing is connected yet.

    `name` is the name of the client that the server shows. A password in the URL goes before
    `password`. A statement may take `statement_ms`, 0 for any time.
    """
    parsed = make_url(url)
    scheme = parsed.drivername
    parsed = parsed.set(drivername=DRIVERS[scheme], password=parsed.password or password or None)
    options: dict[str, Any]
    if scheme == "postgresql":
        options = {
            "timeout": CONNECT_S,
            "server_settings": {
                "application_name": name,
                "idle_in_transaction_session_timeout": str(IDLE_MS),
                "statement_timeout": str(statement_ms),
                "lock_timeout": str(LOCK_MS),
            },
        }
    else:
        options = {
            "connect_timeout": CONNECT_S,
            "charset": "utf8mb4",
            "init_command": (
                f"SET SESSION idle_transaction_timeout = {IDLE_MS // 1000},"
                f" max_statement_time = {statement_ms // 1000},"
                f" innodb_lock_wait_timeout = {LOCK_MS // 1000},"
                # A text that does not fit is an error, never cut.
                " sql_mode = 'STRICT_ALL_TABLES,ANSI_QUOTES'"
            ),
        }
    return create_async_engine(
        parsed,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=POOL_S,
        isolation_level="READ COMMITTED",
        connect_args=options,
    )


def trouble(error: BaseException) -> Trouble:
    """The kind of trouble that an error means."""
    if isinstance(error, PoolTimeout | IntegrityError | NoResultFound):
        return "collision"  # NoResultFound: a key that was there a moment ago has just expired
    if not isinstance(error, DBAPIError):
        return "away" if isinstance(error, OSError | TimeoutError | LedgerError) else ""
    if error.connection_invalidated:
        return "away"
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        if state.startswith(POSTGRESQL_COLLISIONS):
            return "collision"
        return "away" if state.startswith(POSTGRESQL_AWAY) else ""
    number = error.orig.args[0] if error.orig is not None and error.orig.args else None
    if number in MARIADB_COLLISIONS:
        return "collision"
    return "away" if number in MARIADB_AWAY else ""


def reason(error: BaseException) -> str:
    """An error in one line, without the statement that met it."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return " ".join(str(cause).split()) or type(cause).__name__


_statement = lru_cache(text)


def executor(connection: Connection) -> Execute:
    """The function that executes the ledger's statements on `connection`."""
    return lambda statement, values: connection.execute(_statement(statement), values)


def create_schema(connection: Connection) -> None:
    """Create or update the tables; raise a LedgerError if another version has made them."""
    dialect = DIALECTS[connection.dialect.name]
    connection.execute(text(dialect["lock"]))
    try:
        if not inspect(connection).has_table("ledger_schema"):
            statements = f"{tables.SCHEMA};{VERSION_TABLE}".format(
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
        version = connection.scalar(text("SELECT version FROM ledger_schema"))
        if version is None:
            version = tables.SCHEMA_VERSION
            connection.execute(text(f"INSERT INTO ledger_schema VALUES ({version})"))
        elif version == 1:
            version = tables.SCHEMA_VERSION
            connection.execute(text(tables.FROM_VERSION_1))
            connection.execute(text(f"UPDATE ledger_schema SET version = {version}"))
        connection.commit()
    except BaseException:
        connection.invalidate()  # the lock goes with the connection
        raise
    connection.execute(text(dialect["unlock"]))
    if version != tables.SCHEMA_VERSION:
        raise LedgerError(f"its schema is version {version}, not {tables.SCHEMA_VERSION}")


def _delete_expired_keys(connection: Connection) -> None:
    expired = connection.execute(EXPIRED_KEYS, {"at": time.time(), "at_most": EXPIRE_AT_MOST})
    if texts := list(expired.scalars()):
        connection.execute(DELETE_KEYS, {"texts": texts})


class ServerTransaction(Transaction):
    """One write on a server. It claims the key first."""

    entry_to_write = f"{tables.ENTRY_BY_ID} FOR UPDATE"
    stored_answer = tables.STORED_ANSWER.format(KEYS)
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
        row = super()._stored_answer(kept)
        if row is None:
            raise NoResultFound  # it was there a moment ago, and has just expired
        return row
