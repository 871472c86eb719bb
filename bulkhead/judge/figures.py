"""The figures of a run: what `compare`, the report and the bounds speak of.

A request belongs to the phase in which it was planned. Latencies are of answered requests, from the
planned start to the last byte; quantiles are exact, by nearest rank. What the end of the load cut
off is no failure (schedule_kept tells of it). A figure that the run cannot give is None.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from bulkhead.judge.case import UNKNOWN, Case
from bulkhead.judge.verdict import Check

Figures = dict[str, float | int | None]

_FAILED = "outcome = 'failed' AND cause <> 'client_stopped'"

# A figure that counts requests -> which ones.
COUNTS: Mapping[str, str] = {
    "requests": "true",
    "answered": "outcome = 'answered'",
    "failed": _FAILED,
    "failed_repeatable": f"{_FAILED} AND class = 'repeatable'",
    "failed_once": f"{_FAILED} AND class = 'once'",
    "indeterminate": "outcome = 'indeterminate' AND cause <> 'client_stopped'",
    "not_sent": "outcome = 'not_sent'",
    "moved_on": "moved_on",
    "replays": "replays > 0",
    "held_requests": "held_s > 0",
    "delayed": "delay_cause <> '' AND phase <> 'warmup'",
}

# To the microsecond: what a bound decides must not hang on how a sum of binary fractions ends.
_LATENCY_MS = "round(1000 * latency_s, 3)"
LATE_MS = "round(1000 * (sent - planned), 3)"
RATE_PER_S = "count(*) / nullif(max(planned) - min(planned), 0)"
_P50, _P99, _P999 = (
    f"quantile_disc({_LATENCY_MS}, {share}::DECIMAL(4,3))" for share in (0.5, 0.99, 0.999)
)
# A second of the recovery is good when this part of what was planned in it was answered so soon.
GOOD_SHARE, GOOD_S = 0.95, 1

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
    "ghosts": "ghosts",
    "resent": "sent_once",
    "foreign": "foreign",
    "stale": "nothing_stale",
    "unexplained": "explained",
}

NAMES = (
    *COUNTS,
    *LATENCIES,
    *COUNTED,
    *("rate_per_s", "late_p99_ms", "injections", "held", "injected"),
    *RATIOS,
    *("recovery_s", "settle_s", "goodput_s"),
    *("deaths", "hang_kills", "retries_per_request"),
)


def measured(case: Case) -> Figures:
    """The figures that are taken from the account."""
    counts = [f"count(*) FILTER ({which}) AS {name}" for name, which in COUNTS.items()]
    latencies = [
        f"{what} FILTER (phase = '{phase}' AND outcome = 'answered') AS {name}"
        for name, (phase, what) in LATENCIES.items()
    ]
    found: Figures = _row(
        case, f"SELECT {', '.join([*counts, *latencies, *_SENDING])} FROM requests"
    )
    for sql in (_INJECTED, _RECOVERY, _SETTLE, _GOODPUT, _DEATHS, _RETRIES):
        found |= _row(case, sql)
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


def _row(case: Case, sql: str) -> dict[str, Any]:
    """The one row of a query, by the names of its columns."""
    result = case.account.execute(sql)
    names = [column[0] for column in result.description or ()]
    return dict(zip(names, result.fetchall()[0], strict=True))


_SENDING = (
    f"{RATE_PER_S} AS rate_per_s",
    f"quantile_disc({LATE_MS}, 0.99) FILTER (sent > 0 AND phase <> 'warmup') AS late_p99_ms",
)

_INJECTED = """
    SELECT
        count(*) AS injections, count(held) AS held,
        (SELECT count(*) FROM executions WHERE fault <> '') AS injected
    FROM injections
"""

# From the moment an instance was seen dead until it was seen up; until the end when it never was.
_RECOVERY = """
    SELECT round(max(back - began), 3) AS recovery_s FROM (
        SELECT
            began, state,
            coalesce(
                min(CASE WHEN state = 'up' THEN began END) OVER later, max(ended) OVER later, ended
            ) AS back
        FROM states
        WINDOW later AS (
            PARTITION BY instance ORDER BY began ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        )
    ) WHERE state = 'dead'
"""

# From the end of the last fault until the last request that still suffered from it.
_SETTLE = f"""
    WITH undone AS (SELECT max(healed) AS t FROM injections WHERE held IS NOT NULL)
    SELECT round(coalesce(max(requests.done), undone.t) - undone.t, 3) AS settle_s
    FROM undone LEFT JOIN requests
        ON requests.done > undone.t AND ({COUNTS["failed"]} OR {COUNTS["indeterminate"]})
    GROUP BY undone.t
"""

# How long into the recovery there was still a second that was not good. Only whole seconds count.
_GOODPUT = f"""
    WITH seconds AS (
        SELECT
            floor(planned - began) AS second, count(*) AS offered,
            count(*) FILTER (outcome = 'answered' AND latency_s <= {GOOD_S}) AS good
        FROM requests JOIN phases ON phases.name = phase
        WHERE phase = 'recovery' AND floor(planned - began) + 1 <= ended - began
        GROUP BY ALL
    )
    SELECT
        CASE WHEN count(*) > 0 THEN
            coalesce(max(second + 1) FILTER (good < {GOOD_SHARE} * offered), 0)
        END AS goodput_s
    FROM seconds
"""

# Without a watchdog nobody kills what hangs, and nobody would have written it down.
_DEATHS = """
    SELECT
        (SELECT count(*) FROM states WHERE state = 'dead') AS deaths,
        (
            SELECT CASE WHEN value IS NOT NULL THEN
                (SELECT count(*) FROM watch WHERE kind = 'hang')
            END FROM account WHERE key = 'watch_rows'
        ) AS hang_kills
"""

# Tries beyond the first for each request that was tried at all, in the worst phase. A sub-request
# is one more request to the proxy.
_RETRIES = """
    WITH each AS (
        SELECT requests.phase, count(*) - 1 AS retries
        FROM attempts JOIN requests ON requests.id = attempts.root
        WHERE attempts.instance <> '' AND requests.phase IN ('baseline', 'faults', 'recovery')
        GROUP BY requests.phase, attempts.id, attempts.proxy_id
    )
    SELECT round(max(share), 4) AS retries_per_request
    FROM (SELECT sum(retries) / count(*) AS share FROM each GROUP BY phase)
"""
