"""The end of an open-loop load: every arrival has its row on the disk, or exit code EXIT_ROWS."""

import logging

from loadtest.evidence import EXIT_ROWS
from loadtest.journal import Journal
from loadtest.pacer import Pacer
from loadtest.recorder import Counts, Told

EXIT_BROKEN = 1
BROKEN = "the open loop broke"

log = logging.getLogger(__name__)


class Books:
    """The journal at `path` and the pacers that wrote in it: in the web UI there may be several.

    `stopping` is true once the present test is asked to stop.

    Raises:
        OSError: the journal cannot be opened; Locust then ends the process.
    """

    def __init__(self, path: str) -> None:
        self.journal = Journal(path)
        self.stopping = False
        self._pacer: Pacer | None = None
        self._planned = 0
        self._broken = False

    def carry_out(self, pacer: Pacer) -> None:
        """Let `pacer` run, and count what it planned, however it ends."""
        self._pacer = pacer
        try:
            pacer.run()
        except Exception:
            # Locust would log it and begin the schedule anew.
            log.exception(BROKEN)
            self._broken = True
        finally:
            self._planned += pacer.planned
            self._pacer = None

    def refuse(self) -> None:
        """A user came for whom there is nothing to send: the load is not what was asked for."""
        log.error("a user without a share: workers have come or gone while the load ran")
        self._broken = True

    def on_test_start(self, **_more: object) -> None:
        """A listener of Locust's event of this name."""
        self.stopping = False

    def on_test_stopping(self, **_more: object) -> None:
        """A listener of Locust's event of this name: no more arrivals."""
        self.stopping = True
        if self._pacer:
            self._pacer.stop()
            log.info("no more arrivals; what is in flight may finish")

    def cut(self) -> None:
        """Wait for no answer any more."""
        if self._pacer:
            self._pacer.cut()

    def told(self) -> Told:
        """What rows there are, all of them on the disk. Ask when no pacer runs."""
        journal = self.journal
        journal.sync()
        counts = Counts(begun=self._planned, written=journal.written, events=journal.added)
        return Told(counts, journal.problem(self._planned) or (BROKEN if self._broken else ""))


def exit_code(told: Told) -> int:
    """What the process ends with."""
    if told.problem:
        return EXIT_BROKEN if told.problem == BROKEN else EXIT_ROWS
    return 0
