"""What a drill tells while it runs: a line each second, from the rows and the observer."""

import contextlib
import threading
from types import TracebackType
from typing import Self

from bulkhead.clock import now
from bulkhead.control.start import Say
from bulkhead.drill.locust import Follower
from bulkhead.drill.observer import Observer


class Progress:
    """A thread for the time of a context; `phase` is what the run is doing."""

    def __init__(self, rows: Follower, observer: Observer, say: Say) -> None:
        self.phase = "warmup"
        self._rows = rows
        self._observer = observer
        self._say = say
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _tell(self) -> None:
        began = now()
        with contextlib.suppress(BrokenPipeError):  # nobody reads it any more; the run goes on
            self._tell_on(began)

    def _tell_on(self, began: float) -> None:
        while not self._over.wait(1):
            new, failed = self._rows.read()
            states = self._observer.states
            bad = ", ".join(f"{name} {state}" for name, state in states.items() if state != "up")
            up = sum(state == "up" for state in states.values())
            self._say(
                f"  {now() - began:3.0f} s  {self.phase:8}  {new:6,} requests/s"
                f"  {self._rows.failed:6,} failed" + (f" (+{failed:,})" if failed else "")
                + f"  {up}/{len(states)} up" + (f": {bad}" if bad else "")
            )  # fmt: skip
