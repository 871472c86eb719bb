"""The ledger in one SQLite file that all instances share: one writing thread, some reading ones.

Group commit: all writes that wait share a commit, and the event loop gets an answer only after the
commit that holds its effect. Each write runs in a savepoint of its own, so a write that fails takes
no other with it.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from services.api.errors import ApiError
from services.api.ledger import tables
from services.api.ledger.entry import MAX_WAITING, PATIENCE_S, LedgerError, Write, WriteAnswer
from services.api.ledger.tables import Execute, LedgerStore, Transaction, Value
from services.common.identity import Identity

log = logging.getLogger("bulkhead.api.ledger")

READERS = 2
MAX_OPERATIONS = 128  # in one commit, so that other processes can commit between two of ours
# SQLite's own busy handler sleeps up to 100 ms; commits take about 1 ms, so waiting is finer here.
RETRY_S = 0.0005

SQLITE_SCHEMA = tables.SCHEMA.format(
    unless_there="",
    row_number="INTEGER PRIMARY KEY AUTOINCREMENT",
    without_row_number=" WITHOUT ROWID",
    keys="keys",
    unique_key="UNIQUE",
    unique_version="",
    hash="BLOB",
    body="BLOB",
    options="",
)


class SqliteTransaction(Transaction):
    """The writes of one commit. SQLite has one writer at a time, so nothing needs a lock."""

    stored_answer = tables.STORED_ANSWER.format("keys")
    store_answer = (
        "INSERT INTO keys (key, fingerprint, status, body, etag, location, expires)"
        " VALUES (:key, :fingerprint, :status, :body, :etag, :location, :expires)"
    )

    def delete_expired_keys(self, limit: int) -> None:
        """Delete at most `limit` keys that were kept long enough."""
        self._execute(
            "DELETE FROM keys WHERE rowid IN"
            " (SELECT rowid FROM keys WHERE expires < :at ORDER BY expires LIMIT :limit)",
            {"at": self._at, "limit": limit},
        )


class Job(NamedTuple):
    """One waiting write, the future of its answer, and when it is refused."""

    write: Write
    future: asyncio.Future[WriteAnswer]
    deadline: float


Outcome = tuple[Job, WriteAnswer | Exception]


class SqliteLedger(LedgerStore):
    """A ledger in the SQLite file at `path`.

    LedgerError if the file cannot be opened or has another program's schema.
    """

    def __init__(self, path: str, identity: Identity) -> None:
        super().__init__()
        self._path = path
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._connection = _open_for_writing(path)
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"cannot open the ledger {path}: {error}") from error
        self._transaction = partial(SqliteTransaction, self._connection.execute, identity)
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closing = False
        self._writer = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._writer.start()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-reader")
        self._reads = 0
        # A reading thread takes a connection and puts it back, so there are at most READERS.
        self._idle: list[sqlite3.Connection] = []

    async def apply(self, write: Write) -> WriteAnswer:
        if self.waiting >= MAX_WAITING:
            raise ApiError("overloaded", kind="writes", limit=MAX_WAITING)
        self.waiting += 1
        future: asyncio.Future[WriteAnswer] = self._loop.create_future()
        self._jobs.put(Job(write, future, time.monotonic() + PATIENCE_S))
        return await future

    async def close(self) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._idle:
            connection.close()

    async def read(self, select: Callable[[Execute], Value]) -> Value:
        if self._reads >= MAX_WAITING:
            raise ApiError("overloaded", kind="reads", limit=MAX_WAITING)
        self._reads += 1
        try:
            return await self._loop.run_in_executor(self._pool, self._select, select)
        finally:
            self._reads -= 1

    def _select(self, select: Callable[[Execute], Value]) -> Value:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = sqlite3.connect(
                self._path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA query_only = ON")
        try:
            return select(connection.execute)
        finally:
            self._idle.append(connection)

    def _run(self) -> None:
        """The writing thread: commit what waits, until this ledger is closed."""
        while not self._closing:
            batch = self._gather()
            try:
                if batch and self._begin(batch):
                    self._commit(batch)
            except Exception as error:
                log.exception("a commit of %d writes failed", len(batch))
                self._deliver([(job, error) for job in batch])
        self._connection.close()

    def _gather(self) -> list[Job]:
        """Wait for a write; it, and all that wait behind it, up to a commit's limit."""
        batch: list[Job] = []
        while job := self._jobs.get():
            batch.append(job)
            if len(batch) == MAX_OPERATIONS or self._jobs.empty():
                return batch
        self._closing = True
        return batch

    def _begin(self, batch: list[Job]) -> bool:
        """Begin a transaction once no other process writes; refuse each write that waits too long.

        False when the lock did not come free before the last of them was refused.
        """
        while batch:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return True
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
            now = time.monotonic()
            if late := [job for job in batch if job.deadline <= now]:
                self._deliver([(job, ApiError("ledger_busy", waited_s=PATIENCE_S)) for job in late])
                batch[:] = [job for job in batch if job.deadline > now]
            time.sleep(RETRY_S)
        return False

    def _commit(self, batch: list[Job]) -> None:
        try:
            transaction = self._transaction(time.time())
            outcomes = [self._execute(transaction, job) for job in batch]
            # Each write stores one key at most, so twice as many deletions always keep up.
            transaction.delete_expired_keys(2 * len(batch))
            self._connection.execute("COMMIT")
        except Exception:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self.commits += 1
        self.operations += len(batch)
        self._deliver(outcomes)

    def _execute(self, transaction: SqliteTransaction, job: Job) -> Outcome:
        outcome: WriteAnswer | Exception
        self._connection.execute("SAVEPOINT operation")
        try:
            outcome = transaction.apply(job.write)
        except Exception as error:
            # SQLite rolls everything back by itself when the disk is full or fails.
            if not self._connection.in_transaction:
                raise
            log.exception("write %s failed", job.write.request_id)
            self._connection.execute("ROLLBACK TO operation")
            outcome = error
        self._connection.execute("RELEASE operation")
        return job, outcome

    def _deliver(self, outcomes: list[Outcome]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._resolve, outcomes)
        except RuntimeError:
            # The grace time is over and the loop is gone: no request is left to answer.
            log.warning("the process ends before a commit could be answered")

    def _resolve(self, outcomes: list[Outcome]) -> None:
        self.waiting -= len(outcomes)
        for job, outcome in outcomes:
            if job.future.done():
                continue
            if isinstance(outcome, Exception):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether `error` only says that another process holds a lock."""
    # The attribute is absent on errors that Python's own module raises.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _open_for_writing(path: str) -> sqlite3.Connection:
    # check_same_thread: opened here, where a failure is a start-up error, used by the writer only.
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            # Several processes may do this at once: one that meets another's lock tries again.
            connection.execute("PRAGMA journal_mode = WAL")
            # FULL: every commit is flushed to the disk before it is acknowledged.
            connection.execute("PRAGMA synchronous = FULL")
            # Reading the version takes no lock: an instance starts even while another one writes.
            if _schema_version(connection) != tables.SCHEMA_VERSION:
                connection.execute("BEGIN IMMEDIATE")
                _create_schema(connection)
                connection.execute("COMMIT")
            return connection
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if not is_busy(error) or time.monotonic() > deadline:
                connection.close()
                raise
        time.sleep(RETRY_S)


def _schema_version(connection: sqlite3.Connection) -> int:
    """The version of the schema that the file has; 0 when it has none."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create_schema(connection: sqlite3.Connection) -> None:
    """Create or update the tables, unless another process just did; refuse other versions."""
    version = _schema_version(connection)
    missing = {0: SQLITE_SCHEMA, 1: tables.FROM_VERSION_1, tables.SCHEMA_VERSION: ""}.get(version)
    if missing is None:
        raise sqlite3.DatabaseError(f"its schema is version {version}, not {tables.SCHEMA_VERSION}")
    for statement in missing.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {tables.SCHEMA_VERSION}")
