"""Did the run do what its drill asked for: faults and load? Where not, it is INVALID."""

from collections.abc import Iterator

from bulkhead.judge.case import EXAMPLES, Case, Finding, Rule, problems
from bulkhead.judge.figures import LATE_MS, RATE_PER_S

# Of Expect.min_requests: each of baseline and faults has a fifth of it, a target a fiftieth.
PHASE_PART, TARGET_PART = 5, 50
# Arrivals at random leave a gap of this many mean ones once in e^20 = 500 million arrivals.
GAP_S, GAP_ARRIVALS = 1.0, 20


def faults_held(case: Case) -> Finding:
    """Every planned injection was proved to be in force, or found nothing to be done to."""
    began, held, skipped = case.rows(
        "SELECT count(*), count(held), count(*) FILTER (skipped) FROM injections"
    )[0]
    found = []
    if began != case.planned:
        found.append(f"{began} injections, though {case.planned} were planned")
    found += _named(case, "held IS NULL AND NOT skipped", "did not take hold")
    if case.planned and not held:
        found.append("not one injection took hold")
    if 2 * skipped > began:
        found.append(f"{skipped} of {began} injections found nothing to be done to")
    figure = f"{held} of {case.planned} held, {skipped} skipped"
    return problems(figure, found, "all held or skipped, at most half of them skipped")


def faults_undone(case: Case) -> Finding:
    """Every injection that was in force was proved to be undone before the recovery began."""
    found = [
        *_named(case, "held IS NOT NULL AND (healed IS NULL OR failed)", "was not undone"),
        *_named(case, _UNDONE_LATE, "was still in force when the recovery began"),
    ]
    held = case.one("SELECT count(held) FROM injections")
    return problems(f"{held - len(found)} of {held} undone", found, "all undone")


_UNDONE_LATE = """
    held IS NOT NULL AND NOT failed
        AND healed > (SELECT min(began) FROM phases WHERE name = 'recovery')
"""


def _named(case: Case, which: str, otherwise: str) -> list[str]:
    """The injections of which this SQL is true, each with what was written down about it."""
    return case.column(
        f"""
        SELECT format('{{}} on {{}}, injection {{}}: {{}}', fault, target, n,
            coalesce(nullif(problem, ''), $otherwise))
        FROM injections WHERE {which} ORDER BY n
        """,
        otherwise=otherwise,
    )


def load_sufficient(case: Case) -> Finding:
    """Enough requests to mean something: in all, in each phase, and at each target of a fault."""
    least = case.expect.min_requests
    counts = dict(case.rows("SELECT phase, count(*) FROM requests GROUP BY phase"))
    total = sum(counts.values())
    found = []
    if total < least:
        found.append(f"{total} requests, and at least {least} are needed")
    for phase in ("baseline", "faults") if case.planned else ("baseline",):
        if counts.get(phase, 0) < least / PHASE_PART:
            found.append(
                f"{counts.get(phase, 0)} requests in the phase {phase}, and at least "
                f"{least / PHASE_PART:g} are needed"
            )
    for instance, tries in case.rows(_TRIES_AT_TARGETS):
        if tries < least / TARGET_PART:
            found.append(
                f"{tries} tries at {instance} in the baseline, and at least "
                f"{least / TARGET_PART:g} are needed, for a fault was done to it"
            )
    return problems(f"{total} requests", found, f"at least {least}")


# A target is names with spaces between them, of instances or of hosts: of a host count the tries at
# all of its instances. What is neither, as nginx or a database, is not tried by the proxy.
_TRIES_AT_TARGETS = """
    WITH targets AS (
        SELECT DISTINCT unnest(string_split(target, ' ')) AS name
        FROM injections WHERE held IS NOT NULL
    ),
    places AS (
        SELECT DISTINCT name, name AS instance FROM instances
        UNION SELECT split_part(name, '.', 2), name FROM instances WHERE contains(name, '.')
    ),
    tries AS (
        SELECT attempts.instance, count(*) AS count
        FROM attempts JOIN requests ON requests.id = attempts.root
        WHERE requests.phase = 'baseline' GROUP BY attempts.instance
    )
    SELECT name, coalesce(sum(count), 0)::INTEGER
    FROM targets JOIN places USING (name) LEFT JOIN tries USING (instance)
    GROUP BY name ORDER BY name
"""


def schedule_kept(case: Case) -> Finding:
    """The load generator sent what was planned, when it was planned, until the end."""
    baseline, overall = case.rows(_LATE)[0]
    most, gap_s = case.expect.late_p99_ms, _longest_gap_s(case)
    found = [
        *_lateness("in the baseline", baseline, case.expect.late_baseline_ms),
        *_lateness("after the warm-up", overall, most),
    ]
    unsent = case.column(_UNSENT_IN_BASELINE)
    if unsent:
        found.append(f"{len(unsent)} requests of the baseline were not sent")
    stopped = case.column(_STOPPED)
    if stopped:
        found.append(f"{len(stopped)} requests were cut off by the end of the load")
    found += [
        f"no request was planned for {gap:.1f} s from {start:.1f} s on"
        for start, gap in case.rows(_GAPS, gap=gap_s)[:EXAMPLES]
    ]
    figure = "unknown" if overall is None else f"p99 {overall:.1f} ms late"
    bound = f"p99 at most {most:g} ms late, no gap above {gap_s:.3g} s"
    return problems(figure, found, bound, [*unsent, *stopped])


def _longest_gap_s(case: Case) -> float:
    """A gap that the planned arrivals may leave by chance, at their mean rate."""
    rate = case.one(f"SELECT {RATE_PER_S} FROM requests")
    return max(GAP_S, round(GAP_ARRIVALS / rate, 6)) if rate else GAP_S


def _lateness(where: str, late: float | None, most: float) -> Iterator[str]:
    if late is None:
        yield f"nothing was sent {where}"
    elif late > most:
        yield f"p99 {late:.1f} ms late {where}, and at most {most:g} ms are allowed"


_LATE = f"""
    SELECT
        quantile_disc({LATE_MS}, 0.99) FILTER (phase = 'baseline'),
        quantile_disc({LATE_MS}, 0.99) FILTER (phase <> 'warmup')
    FROM requests WHERE sent > 0
"""

# Later it may be the stack's fault: every connection waits for what hangs. A bound looks at that.
_UNSENT_IN_BASELINE = """
    SELECT id FROM requests WHERE outcome = 'not_sent' AND phase = 'baseline' ORDER BY planned
"""

_STOPPED = "SELECT id FROM requests WHERE cause = 'client_stopped' ORDER BY planned"

# The load must last from the beginning of the baseline until the end, and may begin before it.
_GAPS = """
    WITH moments AS (
        SELECT planned AS t FROM requests
        UNION ALL
        SELECT t FROM events WHERE kind = 'phase' AND target IN ('baseline', 'end')
    ),
    spans AS (
        SELECT t - min(t) OVER () AS start, lead(t) OVER (ORDER BY t) - t AS gap FROM moments
    )
    SELECT start, gap FROM spans WHERE round(gap, 6) > $gap ORDER BY start
"""

RULES: tuple[Rule, ...] = (faults_held, faults_undone, load_sufficient, schedule_kept)
