"""Expect: what a drill promises of its run. docs/verdict.md explains every bound.

The four bounds on failures are zero unless the drill says otherwise, so a drill that says nothing
promises everything. The others are not looked at unless they are set.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=0)]
Least = Annotated[int, Field(ge=1)]
Milliseconds = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(ge=0)]
Multiple = Annotated[float, Field(ge=1)]
Portion = Annotated[float, Field(ge=0, le=1)]
# Of a client's errors (records.Error) those that a stack can be the reason of.
Broken = Literal["refused", "reset", "closed", "timeout", "other"]
Range = Annotated[list[Portion], Field(min_length=2, max_length=2)]


def _on(figure: str, default: float | None = None) -> Any:
    """A bound on one figure, which is given in words."""
    return Field(default, description=figure)


class Expect(BaseModel):
    """The bounds of a drill. A bound that is reached is kept: each says "at most" or "at least"."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", validate_default=True)

    failed_retryable: Count = _on("retryable requests that failed", 0)
    failed_non_retryable: Count = _on("non-retryable requests that failed", 0)
    indeterminate: Count = _on("writes of which the client does not know", 0)
    not_sent: Count = _on("requests that could not be sent", 0)
    causes: list[str] | None = None
    retried: Count | None = _on("requests that were retried on another instance")
    delayed: Count | None = _on("answers that were delayed")
    p99_baseline_ms: Milliseconds | None = _on("99th percentile of the baseline in ms")
    p99_faults_ms: Milliseconds | None = _on("99th percentile during the faults in ms")
    p999_faults_ms: Milliseconds | None = _on("99.9th percentile during the faults in ms")
    max_faults_ms: Milliseconds | None = _on("longest answer during the faults in ms")
    p99_recovery_ms: Milliseconds | None = _on("99th percentile of the recovery in ms")
    p99_ratio: Multiple | None = _on("99th percentile of the recovery over that of the baseline")
    p99_faults_ratio: Multiple | None = _on(
        "99th percentile during the faults over that of the baseline"
    )
    recovery_s: Seconds | None = _on("longest time until a dead instance was up again in s")
    settle_s: Seconds | None = _on("time from the end of the faults to the last failure in s")
    goodput_s: Seconds | None = _on(
        "time into the recovery until what was offered was answered again in s"
    )
    deaths: Count | None = _on("times that an instance was seen dead")
    deaths_per_request: Count | None = _on(
        "processes that died while they executed one and the same request"
    )
    hang_kills: Count | None = _on("processes that the watchdog killed because they hung")
    retries_per_request: Annotated[float, Field(ge=0)] | None = _on(
        "tries beyond the first for each request, in the worst phase"
    )
    max_in_flight: Least | None = _on("requests that one instance executed at once")
    errors: dict[Broken, Count] | None = None
    share: dict[str, Range] | None = None
    retried_min: Least | None = _on("requests that were retried on another instance")
    replays_min: Least | None = _on("requests that were answered by a replay")
    injected_min: Least | None = _on("executions that a fault touched")
    failed_non_retryable_min: Least | None = _on("non-retryable requests that failed")
    queued_min: Least | None = _on("requests that waited in the proxy for an instance")
    hang_kills_min: Least | None = _on("processes that the watchdog killed because they hung")
    min_requests: Annotated[int, Field(ge=50)] = 1000
    late_p99_ms: Milliseconds = 100
    late_baseline_ms: Milliseconds = 50

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> Self:
        for instance, (low, high) in (self.share or {}).items():
            if low > high:
                raise ValueError(f"share of {instance}: {low:g} is above {high:g}")
        return self
