"""events.jsonl: what happened to the stack during a run, written down as it happens."""

import threading
from pathlib import Path

from bulkhead.clock import now
from bulkhead.records import Event, EventKind, encode


class Events:
    """Appends events, from any thread; each is with the kernel when `note` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def note(
        self,
        kind: EventKind,
        target: str = "",
        fault: str = "",
        n: int = 0,
        detail: str = "",
        at: float | None = None,
    ) -> float:
        """Write one event that happened now, or `at` a monotonic time; returns that time."""
        with self._lock:
            t = now() if at is None else at
            self._file.write(encode(Event(t, kind, target, fault, n, detail)) + b"\n")
            return t

    def close(self) -> None:
        """No more events."""
        self._file.close()
