"""The end of an open-loop load: every arrival has its row on the disk, or exit code EXIT_ROWS."""

import logging
import sys

from loadtest.evidence import EXIT_ROWS
from loadtest.journal import Journal
from loadtest.pacer import Pacer

EXIT_BROKEN = 1

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
            log.exception("the open loop broke")
            self._broken = True
        finally:
            self._planned += pacer.planned
            self._pacer = None

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

    def close(self) -> int:
        """Say in one line how many rows there are; the exit code."""
        self.journal.close()
        problem = self.journal.problem(self._planned)
        where = f" in {self.journal.path}" if self.journal.path else ""
        if problem or where:
            print(f"client rows: {problem or f'{self.journal.written}{where}'}", file=sys.stderr)
        if problem:
            return EXIT_ROWS
        return EXIT_BROKEN if self._broken else 0
