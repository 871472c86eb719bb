"""The ledger on a database server, PostgreSQL or MariaDB, which all instances of all hosts share.

A server can be away: killed, restarted, cut off. Then an operation waits for it and is tried again,
for as long as it may wait for a lock in SQLite; whoever comes when it has been away for longer is
refused at once, but for the one that asks whether it is back. What was broken in the middle of its
COMMIT is not tried again: nobody knows what became of it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import Pool
from sqlalchemy.util import greenlet_spawn

from services.api import sql_tables
from services.api.errors import (
    ApiError,
    ledger_busy,
    ledger_in_doubt,
    ledger_unreachable,
    overloaded,
)
from services.api.ledger import Answer, Counts, Entry, LedgerError, Page, Query, Write
from services.api.sql_server import create_schema, make_engine, reason, shown_url, trouble
from services.api.sql_transaction import SqlTransaction, delete_expired_keys
from services.identity import Identity

log = logging.getLogger("bulkhead.api.ledger")

MAX_WAITING = 512
PATIENCE_S = 5.0
# One try may take so long; a server that is silent for longer is as good as dead. Long enough for a
# commit on a busy disk, short enough for a second try within the patience.
TRY_S = 2.0
# Between two tries; a server that is back is found this soon.
AGAIN_S = 0.05
EXPIRE_S = 1.0
READS, WRITES = "reads", "writes"
EXPIRE_AT_MOST = 1000

# What can go wrong with a server; `trouble` sorts it.
FAILURES = (SQLAlchemyError, OSError, TimeoutError, LedgerError)

Value = TypeVar("Value")
Work = Callable[[AsyncConnection], Awaitable[Value]]


class InDoubtError(Exception):
    """The connection broke while a COMMIT was under way."""


class SqlLedger:
    """A ledger on the server that `url` names; it implements ledger.Ledger.

    It opens without the server: an instance that can do nothing else still says so.
    """

    def __init__(self, url: str, password: str, identity: Identity) -> None:
        self.counts = Counts()
        self._identity = identity
        self._server = shown_url(url)
        self._engine: AsyncEngine = make_engine(url, password, identity.instance)
        self._away_since: float | None = None
        self._served_at = 0.0  # when a try has last succeeded
        self._asking = False
        self._closing: set[asyncio.Task[None]] = set()
        self._schema_known = False
        self._expiring = asyncio.get_running_loop().create_task(self._expire())

    async def apply(self, write: Write) -> Answer:
        """Execute `write` and answer once its effect is durable."""

        async def work(connection: AsyncConnection) -> Answer:
            return await SqlTransaction(connection, self._identity, time.time()).apply(write)

        answer = await self._do(work, WRITES)
        self.counts.commits += 1  # each write is a transaction of its own
        self.counts.operations += 1
        return answer

    async def get(self, entry_id: str) -> Entry | None:
        """The entry, or None."""

        async def work(connection: AsyncConnection) -> Entry | None:
            found = await connection.execute(sql_tables.ENTRY_BY_ID, {"entry_id": entry_id})
            row = found.one_or_none()
            return None if row is None else Entry(*row)

        return await self._do(work, READS)

    async def list(self, query: Query) -> Page:
        """The entries that `query` asks for."""

        async def work(connection: AsyncConnection) -> Page:
            found = (await connection.execute(sql_tables.page(query))).all()
            shown = found[: query.limit]
            more = len(found) > query.limit
            return Page([Entry(*row[1:]) for row in shown], shown[-1][0] if more else None)

        return await self._do(work, READS)

    async def close(self) -> None:
        """Let go of the server; whoever still waits for it has been answered or given up."""
        self._expiring.cancel()
        await asyncio.gather(self._expiring, return_exceptions=True)
        await self._engine.dispose()

    async def _do(self, work: Work[Value], what: str) -> Value:
        """Do `work` in a transaction of its own, as often as it takes, within the patience."""
        if self.counts.waiting >= MAX_WAITING:
            raise overloaded(what, MAX_WAITING)
        self.counts.waiting += 1
        deadline = time.monotonic() + PATIENCE_S
        try:
            while True:
                try:
                    return await self._attempt(work, writes=what == WRITES)
                except InDoubtError as error:
                    raise ledger_in_doubt() from error
                except FAILURES as error:
                    kind = trouble(error)
                    if not kind:
                        raise
                    late = time.monotonic() + AGAIN_S > deadline
                    if late and kind == "collision":
                        raise ledger_busy(PATIENCE_S) from error
                    if late or self._away_for_long():
                        raise ledger_unreachable(PATIENCE_S) from error
                await asyncio.sleep(AGAIN_S)
        finally:
            self.counts.waiting -= 1

    async def _attempt(self, work: Work[Value], writes: bool) -> Value:
        """One try; of a server that has been away for long, only one at a time."""
        if not self._away_for_long():
            return await self._try(work, writes)
        if self._asking:
            raise ledger_unreachable(PATIENCE_S)
        self._asking = True
        try:
            return await self._try(work, writes)
        finally:
            self._asking = False

    async def _try(self, work: Work[Value], writes: bool) -> Value:
        """One try; it notes whether the server is there."""
        began = time.monotonic()
        try:
            value = await self._transact(work, writes)
        except (InDoubtError, *FAILURES) as error:
            if self._means_away(error, began):
                self._note_away(error)
            raise
        self._served_at = time.monotonic()
        if self._away_since is not None:
            log.warning("%s is back after %.1f s", self._server, self._away_s())
            self._away_since = None
        return value

    def _means_away(self, error: Exception, began: float) -> bool:
        """Whether the server is away, by the failure of a try that began then.

        Silence says so only if nobody else was served since: a server that is slow with one is
        there, and whoever drops its connections then makes it slower still, for as long as the
        load lasts.
        """
        cause = error.__cause__ if isinstance(error, InDoubtError) else error
        if isinstance(cause, TimeoutError) and self._served_at > began:
            return False
        return isinstance(error, InDoubtError) or trouble(error) == "away"

    async def _transact(self, work: Work[Value], writes: bool) -> Value:
        committing = False
        try:
            async with asyncio.timeout(TRY_S), self._engine.connect() as connection:
                if not self._schema_known:
                    await create_schema(connection)
                    self._schema_known = True
                value = await work(connection)
                if writes:
                    committing = True
                    await connection.commit()
                return value
        except FAILURES as error:
            if committing and trouble(error) != "collision":
                raise InDoubtError(reason(error)) from error
            raise

    def _note_away(self, error: Exception) -> None:
        if self._away_since is not None:
            return
        self._away_since = time.monotonic()
        log.warning("%s is away: %s", self._server, reason(error))
        # Connections that wait in the pool are as dead as this one, and nobody else need find out.
        old = self._engine.sync_engine.pool
        self._engine.sync_engine.dispose(close=False)
        closing = asyncio.get_running_loop().create_task(_close(old))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _away_s(self) -> float:
        return 0.0 if self._away_since is None else time.monotonic() - self._away_since

    def _away_for_long(self) -> bool:
        return self._away_s() > PATIENCE_S

    async def _expire(self) -> None:
        """Delete keys that were kept long enough, for ever."""

        async def work(connection: AsyncConnection) -> int:
            return await delete_expired_keys(connection, time.time(), EXPIRE_AT_MOST)

        while True:
            await asyncio.sleep(EXPIRE_S)
            try:
                await self._attempt(work, writes=True)
            except (InDoubtError, ApiError, *FAILURES):
                continue  # the next time is soon


async def _close(pool: Pool) -> None:
    """Close what waits in a pool that nobody uses any more; a dead server says no farewell."""
    with suppress(*FAILURES):
        async with asyncio.timeout(TRY_S):
            await greenlet_spawn(pool.dispose)
