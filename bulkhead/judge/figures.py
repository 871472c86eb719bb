"""The figures of a run: what `compare`, the report and the bounds speak of.

A request belongs to the phase in which it was planned. Latencies are of answered requests, from the
planned start to the last byte; quantiles are exact, by nearest rank. What the end of the load cut
off is no failure (schedule_kept tells of it), nor is what a client left by its own choice. A figure
that the run cannot give is None.
"""

from collections.abc import Iterable, Mapping

from bulkhead.judge.case import UNKNOWN, Case, read
from bulkhead.judge.verdict import Check

Figures = dict[str, float | int | None]

# Causes that are the client's own doing: they say nothing about the stack.
ITS_OWN = "('client_stopped', 'client_left')"
_FAILED = f"outcome = 'failed' AND cause NOT IN {ITS_OWN}"

# A figure that counts requests -> which ones.
COUNTS: Mapping[str, str] = {
    "requests": "true",
    "answered": "outcome = 'answered'",
    "failed": _FAILED,
    "failed_retryable": f"{_FAILED} AND class = 'retryable'",
    "failed_non_retryable": f"{_FAILED} AND class = 'non_retryable'",
    "indeterminate": f"outcome = 'indeterminate' AND cause NOT IN {ITS_OWN}",
    "not_sent": "outcome = 'not_sent'",
    "retried": "retried",
    "replays": "replays > 0",
    "queued": "queued_s > 0",
    "delayed": "delay_cause <> '' AND phase <> 'warmup'",
}

# To the microsecond: what a bound decides must not hang on how a sum of binary fractions ends.
_LATENCY_MS = "round(1000 * latency_s, 3)"
LATE_MS = "round(1000 * (sent - planned), 3)"
RATE_PER_S = "count(*) / nullif(max(planned) - min(planned), 0)"
_P50, _P99, _P999 = (
    f"quantile_disc({_LATENCY_MS}, {share}::DECIMAL(4,3))" for share in (0.5, 0.99, 0.999)
)

# A figure that is a latency -> the phase, and what is taken of its latencies.
LATENCIES: Mapping[str, tuple[str, str]] = {
    "p50_baseline_ms": ("baseline", _P50),
    "p99_baseline_ms": ("baseline", _P99),
    "p50_faults_ms": ("faults", _P50),
    "p99_faults_ms": ("faults", _P99),
    "p999_faults_ms": ("faults", _P999),
    "max_faults_ms": ("faults", f"max({_LATENCY_MS})"),
    "p99_recovery_ms": ("recovery", _P99),
}

# A percentile of another phase over the same of the baseline.
RATIOS: Mapping[str, str] = {"p99_ratio": "p99_recovery_ms", "p99_faults_ratio": "p99_faults_ms"}

# A figure that is the count of a rule -> the rule.
COUNTED: Mapping[str, str] = {
    "lost": "nothing_lost",
    "doubled": "nothing_doubled",
    "unacknowledged": "unacknowledged",
    "resent": "sent_once",
    "unrelated": "unrelated",
    "stale": "nothing_stale",
    "unexplained": "explained",
}

NAMES = (
    *COUNTS,
    *LATENCIES,
    *COUNTED,
    *("rate_per_s", "late_p99_ms", "injections", "confirmed", "injected"),
    *RATIOS,
    *("recovery_s", "settle_s", "goodput_s"),
    *("deaths", "deaths_per_request", "hang_kills", "retries_per_request", "max_in_flight"),
)


def measured(case: Case) -> Figures:
    """The figures that are taken from the account."""
    counts = [f"count(*) FILTER ({which}) AS {name}" for name, which in COUNTS.items()]
    latencies = [
        f"{what} FILTER (phase = '{phase}' AND outcome = 'answered') AS {name}"
        for name, (phase, what) in LATENCIES.items()
    ]
    of_requests = f"SELECT {', '.join([*counts, *latencies, *_SENDING])} FROM requests"
    found: Figures = {}
    for sql in (of_requests, *_OTHERS.values()):
        found |= case.records(sql)[0]
    before = found["p99_baseline_ms"]
    for name, other in RATIOS.items():
        after = found[other]
        found[name] = round(after / before, 3) if before and after is not None else None
    return found


def counted(checks: Iterable[Check]) -> Figures:
    """The figures that are the counts of rules; of a rule that broke, nothing is known."""
    by_name = {one.name: one for one in checks}
    known = {rule for rule, one in by_name.items() if one.figure != UNKNOWN}
    return {name: by_name[rule].count if rule in known else None for name, rule in COUNTED.items()}


def beyond(figure: str) -> str:
    """SQL: the requests that make up a figure; of a latency, those above `$bound`. Or ""."""
    if figure in LATENCIES:
        phase, _ = LATENCIES[figure]
        return f"phase = '{phase}' AND outcome = 'answered' AND {_LATENCY_MS} > $bound"
    return COUNTS.get(figure, "")


_SENDING = (
    f"{RATE_PER_S} AS rate_per_s",
    f"quantile_disc({LATE_MS}, 0.99) FILTER (sent > 0 AND phase <> 'warmup') AS late_p99_ms",
)
# Those that take more than counting requests.
_, _OTHERS = read("figures")
