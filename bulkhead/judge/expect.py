"""Expect: what a drill promises of its run. docs/verdict.md explains every bound.

The four bounds on failures are zero unless the drill says otherwise, so a drill that says nothing
promises everything. The others are not looked at unless they are set.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=0)]
Least = Annotated[int, Field(ge=1)]
Milliseconds = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]
Portion = Annotated[float, Field(ge=0, le=1)]
# Of a client's errors (records.Error) those that a stack can be the reason of.
Broken = Literal["refused", "reset", "closed", "timeout", "other"]
Range = Annotated[list[Portion], Field(min_length=2, max_length=2)]


class Expect(BaseModel):
    """The bounds of a drill. A bound that is reached is kept: each says "at most" or "at least".

    What is above an upper bound FAILs. What is below a lower bound (`_min`) is INVALID: the run did
    not show what the drill is there to show.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", validate_default=True)

    failed_repeatable: Count = 0
    failed_once: Count = 0
    indeterminate: Count = 0
    not_sent: Count = 0
    causes: list[str] | None = None
    moved_on: Count | None = None
    delayed: Count | None = None
    p99_baseline_ms: Milliseconds | None = None
    p99_faults_ms: Milliseconds | None = None
    p999_faults_ms: Milliseconds | None = None
    max_faults_ms: Milliseconds | None = None
    p99_recovery_ms: Milliseconds | None = None
    p99_ratio: Annotated[float, Field(ge=1)] | None = None
    p99_faults_ratio: Annotated[float, Field(ge=1)] | None = None
    recovery_s: Seconds | None = None
    settle_s: Seconds | None = None
    goodput_s: Seconds | None = None
    deaths: Count | None = None
    hang_kills: Count | None = None
    retries_per_request: Annotated[float, Field(ge=0)] | None = None
    errors: dict[Broken, Count] | None = None
    share: dict[str, Range] | None = None
    moved_on_min: Least | None = None
    replays_min: Least | None = None
    injected_min: Least | None = None
    failed_once_min: Least | None = None
    held_requests_min: Least | None = None
    hang_kills_min: Least | None = None
    min_requests: Annotated[int, Field(ge=50)] = 1000
    late_p99_ms: Milliseconds = 100
    late_baseline_ms: Milliseconds = 50

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> Self:
        for instance, (low, high) in (self.share or {}).items():
            if low > high:
                raise ValueError(f"share of {instance}: {low:g} is above {high:g}")
        return self
