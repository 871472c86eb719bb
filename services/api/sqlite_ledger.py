"""The ledger in one SQLite file that all instances share: one writing thread, some reading ones."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from services.api.commits import BUSY_S, RETRY_S, Committer, is_busy
from services.api.errors import overloaded
from services.api.ledger import Answer, Counts, Entry, LedgerError, Page, Query, Write
from services.api.sqlite_tables import (
    SCHEMA_VERSION,
    create_schema,
    schema_version,
    select_entries,
    select_entry,
)
from services.identity import Identity

READERS = 2
MAX_WAITING_READS = 512

Value = TypeVar("Value")


class SqliteLedger:
    """A ledger in the SQLite file at `path`; it implements ledger.Ledger.

    Raises:
        LedgerError: the file cannot be opened or has another program's schema.
    """

    def __init__(self, path: str, identity: Identity) -> None:
        self.counts = Counts()
        self._path = path
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._committer = Committer(_open_for_writing(path), identity, self.counts)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"cannot open the ledger {path}: {error}") from error
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-reader")
        self._reads = 0
        # A reading thread takes a connection and puts it back, so there are at most READERS.
        self._idle: list[sqlite3.Connection] = []

    async def apply(self, write: Write) -> Answer:
        """Execute `write` and answer once its effect is durable."""
        return await self._committer.submit(write)

    async def get(self, entry_id: str) -> Entry | None:
        """The entry, or None."""
        return await self._read(lambda connection: select_entry(connection, entry_id))

    async def list(self, query: Query) -> Page:
        """The entries that `query` asks for."""
        found = await self._read(lambda connection: select_entries(connection, query))
        shown = found[: query.limit]
        more = len(found) > query.limit
        return Page([entry for _, entry in shown], shown[-1][0] if more else None)

    async def close(self) -> None:
        """Commit what is waiting, then close every connection."""
        await self._committer.close()
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._idle:
            connection.close()

    async def _read(self, select: Callable[[sqlite3.Connection], Value]) -> Value:
        if self._reads >= MAX_WAITING_READS:
            raise overloaded("reads", MAX_WAITING_READS)
        self._reads += 1
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, self._select, select)
        finally:
            self._reads -= 1

    def _select(self, select: Callable[[sqlite3.Connection], Value]) -> Value:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _open_for_reading(self._path)
        try:
            return select(connection)
        finally:
            self._idle.append(connection)


def _open_for_writing(path: str) -> sqlite3.Connection:
    # check_same_thread: opened here, where a failure is a start-up error, used by the writer only.
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            # Several processes may do this at once: whoever meets another's lock tries again.
            connection.execute("PRAGMA journal_mode = WAL")
            # FULL: every commit is flushed to the disk before it is acknowledged.
            connection.execute("PRAGMA synchronous = FULL")
            # Reading the version takes no lock: an instance starts even while another one writes.
            if schema_version(connection) != SCHEMA_VERSION:
                connection.execute("BEGIN IMMEDIATE")
                create_schema(connection)
                connection.execute("COMMIT")
            return connection
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if not is_busy(error) or time.monotonic() > deadline:
                connection.close()
                raise
        time.sleep(RETRY_S)


def _open_for_reading(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only = ON")
    return connection
