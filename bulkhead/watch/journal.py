"""What the watchdog says: rows of what it saw and did, and one line for what it cannot explain."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bulkhead.clock import now
from bulkhead.render.paths import Home

COMPLAIN_S = 60.0
COMPLAINTS = 100


class Journal:
    """Where the watchdog of one stack writes to."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._complaints: dict[str, float] = {}

    def row(self, kind: str, target: str, detail: str) -> None:
        """Append one row (records.WatchRow). Rare, so the file is opened for each: it is rotated.

        Not by way of `records`: that imports msgspec, which takes as long as half the start.
        """
        row = {"t": now(), "kind": kind, "target": target, "detail": detail}
        with self.unhurt("rows"):
            path = self._home.watch_rows
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, json.dumps(row, separators=(",", ":")).encode() + b"\n")
            finally:
                os.close(descriptor)

    @contextmanager
    def unhurt(self, what: str) -> Iterator[None]:
        """What goes wrong with one thing is said, and does not stop the watch over the others."""
        try:
            yield
        except Exception as error:
            self.complain(f"{what}: {error!r}")

    def complain(self, text: str) -> None:
        """Say it, but the same not more than once a minute."""
        if now() - self._complaints.get(text, -COMPLAIN_S) < COMPLAIN_S:
            return
        if len(self._complaints) > COMPLAINTS:
            self._complaints.clear()
        self._complaints[text] = now()
        try:
            print(f"watch: {text}", file=sys.stderr, flush=True)
        except OSError:
            self.print_to_file()

    def print_to_file(self) -> None:
        """From now on print to the log file itself: the supervisord that read it is gone."""
        path = self._home.log / "watch.log"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
