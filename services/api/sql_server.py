"""What differs between database servers: how to reach them, and what their errors mean."""

import logging
from typing import Any, Literal

from sqlalchemy import insert, make_url, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, NoResultFound
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.api import sql_tables
from services.api.ledger import LedgerError

# The scheme of a ledger's URL -> SQLAlchemy's name for it and for the driver.
DRIVERS = {"postgresql": "postgresql+asyncpg", "mariadb": "mysql+asyncmy"}
# Connections of one process. A transaction is a millisecond or two; more would only wait for each
# other's locks, and a server has a hundred for all.
CONNECTIONS = 5
CONNECT_S = 2
# A client that vanished in the middle of a transaction must not keep its locks: milliseconds.
IDLE_MS, STATEMENT_MS = 5000, 5000
# Both below what one try may take (sql_ledger.TRY_S): a wait among ourselves says nothing about the
# server, and must end before it looks as if it were away.
LOCK_MS, POOL_S = 1000, 1

# A collision: this transaction has lost against another one. Away: the server cannot be spoken to.
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

# A pool reports each lost connection with a traceback; the ledger says it once, in a line.
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)

# Whoever creates the tables does it alone: two at once would find each other's half.
LOCK_SCHEMA = {
    "postgresql": "SELECT pg_advisory_lock(hashtext('bulkhead'))",
    "mysql": "SELECT GET_LOCK('bulkhead', 2)",
}
UNLOCK_SCHEMA = {
    "postgresql": "SELECT pg_advisory_unlock(hashtext('bulkhead'))",
    "mysql": "SELECT RELEASE_LOCK('bulkhead')",
}


def make_engine(
    url: str, password: str, name: str, statement_ms: int = STATEMENT_MS
) -> AsyncEngine:
    """The pool of connections to the server that `url` names; nothing is connected yet.

    `name` is who is connected, for whoever looks at the server. A password in the URL goes before
    `password`. A statement may take `statement_ms`, 0 for any time.
    """
    parsed = make_url(url)
    scheme = parsed.drivername
    parsed = parsed.set(drivername=DRIVERS[scheme], password=parsed.password or password or None)
    options = _postgresql(name, statement_ms) if scheme == "postgresql" else _mariadb(statement_ms)
    return create_async_engine(
        parsed,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=POOL_S,
        isolation_level="READ COMMITTED",
        connect_args=options,
    )


def _postgresql(name: str, statement_ms: int) -> dict[str, Any]:
    return {
        "timeout": CONNECT_S,
        "server_settings": {
            "application_name": name,
            "idle_in_transaction_session_timeout": str(IDLE_MS),
            "statement_timeout": str(statement_ms),
            "lock_timeout": str(LOCK_MS),
        },
    }


def _mariadb(statement_ms: int) -> dict[str, Any]:
    return {
        "connect_timeout": CONNECT_S,
        "charset": "utf8mb4",
        "init_command": (
            f"SET SESSION idle_transaction_timeout = {IDLE_MS // 1000},"
            f" max_statement_time = {statement_ms // 1000},"
            f" innodb_lock_wait_timeout = {LOCK_MS // 1000},"
            # A text that does not fit is an error, never cut.
            " sql_mode = 'STRICT_ALL_TABLES'"
        ),
    }


def shown_url(url: str) -> str:
    """The URL as a log may have it: without a password."""
    return make_url(url).render_as_string(hide_password=True)


def trouble(error: BaseException) -> Trouble:
    """What an error means; "" when it is a fault of this program."""
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


async def create_schema(connection: AsyncConnection) -> None:
    """Create the tables, unless they are there.

    Raises:
        LedgerError: they are those of another version of this program.
    """
    dialect = connection.dialect.name
    await connection.execute(text(LOCK_SCHEMA[dialect]))
    try:
        await connection.run_sync(sql_tables.METADATA.create_all)
        version = await connection.scalar(select(sql_tables.schema.c.version))
        if version is None:
            version = sql_tables.SCHEMA_VERSION
            await connection.execute(insert(sql_tables.schema), {"version": version})
        await connection.commit()
    except BaseException:
        await connection.invalidate()  # the lock goes with the connection
        raise
    await connection.execute(text(UNLOCK_SCHEMA[dialect]))
    if version != sql_tables.SCHEMA_VERSION:
        raise LedgerError(f"its schema is version {version}, not {sql_tables.SCHEMA_VERSION}")
