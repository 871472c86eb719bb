"""Locust's load shapes, made of loadtest.stages. --users is the peak, --run-time the whole run.

A locustfile that holds a shape class takes --users and --spawn-rate out of their usual meaning, so
the locustfile holds one only when BULKHEAD_SHAPE asks for it.
"""

from typing import Any, ClassVar

from locust import LoadTestShape

from loadtest.stages import RAMP, SPIKE, Stage, at, stages

DEFAULT_USERS = 50
DEFAULT_RUN_S = 60.0


class Staged(LoadTestShape):
    """Goes through `shape`; the numbers come from Locust's own options."""

    abstract = True
    use_common_options = True
    shape: ClassVar[tuple[tuple[float, float], ...]] = ()

    def tick(self) -> tuple[int, float] | None:
        """How many users there should be now; None ends the test."""
        elapsed_s: float = self.get_run_time()  # type: ignore[no-untyped-call]  # Locust has no hint
        stage = at(self._plan(), elapsed_s)
        return (stage.users, stage.spawn_rate) if stage else None

    def _plan(self) -> list[Stage]:
        options: Any = self.runner.environment.parsed_options if self.runner else None
        run_s = getattr(options, "run_time", None) or DEFAULT_RUN_S
        users = getattr(options, "num_users", None) or DEFAULT_USERS
        return stages(self.shape, run_s, users)


class Ramp(Staged):
    """Ten equal steps up to all users."""

    shape = RAMP


class Spike(Staged):
    """A fifth of the users, suddenly all of them, then a fifth again."""

    shape = SPIKE


SHAPES: dict[str, type[Staged]] = {"ramp": Ramp, "spike": Spike}
