"""Load shapes as data: which share of the users is there during which share of the run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A part of a run: how long, how many users, how many of them come or go per second."""

    duration_s: float
    users: int
    spawn_rate: float


# (share of the run time, share of the peak number of users), in order.
RAMP = tuple((0.1, step / 10) for step in range(1, 11))
SPIKE = ((0.4, 0.2), (0.2, 1.0), (0.4, 0.2))

# Locust asks a shape once per second what to do, so a change is spread over at most that long.
CHANGE_S = 1.0


def stages(shape: tuple[tuple[float, float], ...], run_s: float, peak: int) -> list[Stage]:
    """The stages of `shape` for a run of `run_s` seconds that reaches `peak` users."""
    made: list[Stage] = []
    before = 0
    for time_share, user_share in shape:
        users = max(1, round(peak * user_share))
        made.append(Stage(run_s * time_share, users, max(1.0, abs(users - before) / CHANGE_S)))
        before = users
    return made


def at(plan: list[Stage], elapsed_s: float) -> Stage | None:
    """The stage that holds `elapsed_s` seconds into the run; None when the run is over."""
    for stage in plan:
        if elapsed_s < stage.duration_s:
            return stage
        elapsed_s -= stage.duration_s
    return None
