"""What a drill tells while it runs: a line each second, from the rows and the observer."""

from bulkhead.clock import now
from bulkhead.control.start import Say
from bulkhead.drill.background import Background
from bulkhead.drill.locust import Follower
from bulkhead.drill.observer import Observer

EVERY_S = 1


class Progress(Background):
    """`phase` is what the run is doing. When nobody reads any more it falls silent: it decides
    nothing, and the run goes on."""

    def __init__(self, rows: Follower, observer: Observer, say: Say) -> None:
        super().__init__(EVERY_S)
        self.phase = "warmup"
        self._rows = rows
        self._observer = observer
        self._say = say
        self._began = now()

    def turn(self) -> None:
        """Tell how it goes."""
        new, failed = self._rows.read()
        states = self._observer.states
        bad = ", ".join(f"{name} {state}" for name, state in states.items() if state != "up")
        up = sum(state == "up" for state in states.values())
        self._say(
            f"  {now() - self._began:3.0f} s  {self.phase:8}  {new:6,} requests/s"
            f"  {self._rows.failed:6,} failed" + (f" (+{failed:,})" if failed else "")
            + f"  {up}/{len(states)} up" + (f": {bad}" if bad else "")
        )  # fmt: skip
