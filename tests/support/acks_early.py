"""services.api, broken on purpose: it acknowledges a write, and commits it only a moment later."""

import sys
import time

from services.api.__main__ import main
from services.api.ledger import sqlite
from services.api.ledger.sqlite import Job, SqliteLedger

MOMENT_S = 0.05


class EarlyLedger(SqliteLedger):
    """Delivers the answers before the commit. Whoever dies in between has lied."""

    def _commit(self, batch: list[Job]) -> None:
        transaction = self._transaction(time.time())
        self._deliver([self._execute(transaction, job) for job in batch])
        time.sleep(MOMENT_S)
        self._connection.execute("COMMIT")


setattr(sqlite, "SqliteLedger", EarlyLedger)  # noqa: B010 - it is not ours to assign

if __name__ == "__main__":
    sys.exit(main())
