"""services.api, broken on purpose: it acknowledges a write, and commits it only a moment later."""

import sys
import time

from services.api import sqlite_ledger
from services.api.__main__ import main
from services.api.commits import Committer, Job
from services.api.sqlite_tables import SqliteTransaction

MOMENT_S = 0.05


class EarlyCommitter(Committer):
    """Delivers the answers before the commit. Whoever dies in between has lied."""

    def _commit(self, batch: list[Job]) -> None:
        transaction = SqliteTransaction(self._connection, self._identity, time.time())
        self._deliver([self._execute(transaction, job) for job in batch])
        time.sleep(MOMENT_S)
        self._connection.execute("COMMIT")


setattr(sqlite_ledger, "Committer", EarlyCommitter)  # noqa: B010 - it is not ours to assign

if __name__ == "__main__":
    sys.exit(main())
