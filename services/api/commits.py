"""Group commit: one thread of this process writes, and all writes that wait share a commit.

An answer is given to the event loop only after the commit that holds its effect. Each write runs
in a savepoint of its own, so one that fails takes nothing with it.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable

from services.api.errors import ledger_busy, overloaded
from services.api.ledger import Answer, Counts, Write
from services.api.sqlite_tables import SqliteTransaction
from services.identity import Identity

log = logging.getLogger("bulkhead.api.ledger")

# More waiting writes than this are refused at once: at a few thousand writes a second the last of
# them would wait for a fraction of a second, and memory stays bounded when the ledger is locked.
MAX_WAITING = 512
MAX_OPERATIONS = 128  # in one commit, so that other processes get their turn
BUSY_S = 5.0  # how long one write waits for another process's lock before it is refused
# SQLite's own busy handler sleeps up to 100 ms; commits take about 1 ms, so waiting is finer here.
RETRY_S = 0.0005


class Job:
    """One waiting write and the future of its answer."""

    __slots__ = ("deadline", "future", "write")

    def __init__(self, write: Write, future: asyncio.Future[Answer]) -> None:
        self.write = write
        self.future = future
        self.deadline = time.monotonic() + BUSY_S


Result = tuple[Job, Answer | Exception]


class Committer:
    """The writing thread of one process and the queue before it."""

    def __init__(self, connection: sqlite3.Connection, identity: Identity, counts: Counts) -> None:
        self._connection = connection
        self._identity = identity
        self._counts = counts
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closing = False
        self._closed = self._loop.create_future()
        threading.Thread(target=self._run, name="ledger-writer", daemon=True).start()

    def submit(self, write: Write) -> asyncio.Future[Answer]:
        """Queue `write`; the future brings its answer after the commit. Event loop only.

        Raises:
            ApiError: 503, too many writes are waiting.
        """
        if self._counts.waiting >= MAX_WAITING:
            raise overloaded("writes", MAX_WAITING)
        self._counts.waiting += 1
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._jobs.put(Job(write, future))
        return future

    async def close(self) -> None:
        """Commit what is queued, then close the connection."""
        self._jobs.put(None)
        await self._closed

    def _run(self) -> None:
        while not self._closing:
            batch: list[Job] = []
            self._gather(batch, self._jobs.get())
            try:
                if batch and self._begin(batch):
                    self._commit(batch)
            except Exception as error:
                log.exception("a commit of %d writes failed", len(batch))
                self._deliver([(job, error) for job in batch])
        self._connection.close()
        self._call(self._note_closed)

    def _note_closed(self) -> None:
        if not self._closed.done():  # nobody waits any more when the grace time ended first
            self._closed.set_result(None)

    def _gather(self, batch: list[Job], job: Job | None) -> None:
        """Add `job` and all that wait behind it to `batch`, up to a commit's limit."""
        while True:
            if job is None:
                self._closing = True
            else:
                batch.append(job)
            if len(batch) >= MAX_OPERATIONS:
                return
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return

    def _begin(self, batch: list[Job]) -> bool:
        """Begin a transaction once no other process writes; refuse each write that waits too long.

        False when the lock did not come free before the last of them was refused.
        """
        while True:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                return True
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
            now = time.monotonic()
            late = [job for job in batch if job.deadline <= now]
            if late:
                self._deliver([(job, ledger_busy(BUSY_S)) for job in late])
                batch[:] = [job for job in batch if job.deadline > now]
                if not batch:
                    return False
            time.sleep(RETRY_S)

    def _commit(self, batch: list[Job]) -> None:
        try:
            transaction = SqliteTransaction(self._connection, self._identity, time.time())
            results = [self._execute(transaction, job) for job in batch]
            # Each write stores one key at most, so twice as many deletions always keep up.
            transaction.delete_expired_keys(2 * len(batch))
            self._connection.execute("COMMIT")
        except Exception:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._counts.commits += 1
        self._counts.operations += len(batch)
        self._deliver(results)

    def _execute(self, transaction: SqliteTransaction, job: Job) -> Result:
        self._connection.execute("SAVEPOINT operation")
        try:
            answer = transaction.apply(job.write)
        except Exception as error:
            # SQLite rolls everything back by itself when the disk is full or fails.
            if not self._connection.in_transaction:
                raise
            log.exception("write %s failed", job.write.request_id)
            self._connection.execute("ROLLBACK TO operation")
            self._connection.execute("RELEASE operation")
            return job, error
        self._connection.execute("RELEASE operation")
        return job, answer

    def _deliver(self, results: list[Result]) -> None:
        self._call(lambda: self._resolve(results))

    def _resolve(self, results: list[Result]) -> None:
        self._counts.waiting -= len(results)
        for job, result in results:
            if job.future.done():
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The grace time is over and the loop is gone: there is nobody left to answer.
            log.warning("the process ends before a commit could be answered")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether `error` only says that another process holds a lock."""
    # The attribute is absent on errors that Python's own module raises.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
