"""Did the run do what its drill asked for: faults and load? Where not, it is INVALID."""

import math

from bulkhead.judge.case import EXAMPLES, Case, Rules, problems, read
from bulkhead.judge.figures import LATE_MS, RATE_PER_S
from bulkhead.judge.verdict import Check

_QUESTIONS, _QUERIES = read("experiment")

# Of Expect.min_requests: each of baseline and faults has a fifth of it, a target a fiftieth.
PHASE_PART, TARGET_PART = 5, 50
# Arrivals at random leave a gap of this many mean ones once in e^20 = 500 million arrivals.
GAP_S, GAP_ARRIVALS = 1.0, 20
# A phase ends when whoever runs the drill gets to it.
PHASE_EARLY_S, PHASE_LATE_S = 0.1, 1.5


def faults_confirmed(case: Case) -> Check:
    """Every planned injection was proved to be in force, or found nothing to be done to."""
    began, confirmed, skipped = case.rows(
        "SELECT count(*), count(confirmed), count(*) FILTER (skipped) FROM injections"
    )[0]
    found = []
    if began != case.planned:
        found.append(f"{began} injections, though {case.planned} were planned")
    found += _named(case, "confirmed IS NULL AND NOT skipped", "was not confirmed")
    if case.planned and not confirmed:
        found.append("not one injection was confirmed")
    if 2 * skipped > began:
        found.append(f"{skipped} of {began} injections found nothing to be done to")
    figure = f"{confirmed} of {case.planned} confirmed, {skipped} skipped"
    return problems(figure, found, "all confirmed or skipped, at most half of them skipped")


def faults_healed(case: Case) -> Check:
    """Every injection that was in force was proved to be undone before the recovery began."""
    late = "NOT failed AND healed > (SELECT min(began) FROM phases WHERE name = 'recovery')"
    found = [
        *_named(case, "confirmed IS NOT NULL AND (healed IS NULL OR failed)", "was not undone"),
        *_named(
            case, f"confirmed IS NOT NULL AND {late}", "was still in force when the recovery began"
        ),
    ]
    confirmed = case.one("SELECT count(confirmed) FROM injections")
    return problems(f"{confirmed - len(found)} of {confirmed} undone", found, "all undone")


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


def load_sufficient(case: Case) -> Check:
    """Enough requests to mean something: in all, in each phase, and at each target of a fault."""
    least = case.expect.min_requests
    counts = dict(case.rows("SELECT phase, count(*) FROM requests GROUP BY phase"))
    total = sum(counts.values())
    found = [f"{total} requests, and at least {least} are needed"] if total < least else []
    found += [
        f"{seen} requests in the phase {phase}, and at least {least / PHASE_PART:g} are needed"
        for phase in ("baseline", "faults")[: 2 if case.planned else 1]
        if (seen := counts.get(phase, 0)) < least / PHASE_PART
    ]
    found += [
        f"{tries} tries at {instance} in the baseline, and at least {least / TARGET_PART:g} "
        "are needed, for a fault was done to it"
        for instance, tries in case.rows(_QUERIES["tries_at_targets"])
        if tries < least / TARGET_PART
    ]
    return problems(f"{total} requests", found, f"at least {least}")


def schedule_kept(case: Case) -> Check:
    """The load generator sent what was planned, when it was planned, until the end."""
    baseline, overall, rate = case.rows(_SENT)[0]
    most = case.expect.late_p99_ms
    # A gap that the planned arrivals may leave by chance, at their mean rate.
    gap_s = max(GAP_S, round(GAP_ARRIVALS / rate, 6)) if rate else GAP_S
    found = []
    for where, late, allowed in (
        ("in the baseline", baseline, case.expect.late_baseline_ms),
        ("after the warm-up", overall, most),
    ):
        if late is None:
            found.append(f"nothing was sent {where}")
        elif late > allowed:
            found.append(f"p99 {late:.1f} ms late {where}, and at most {allowed:g} ms are allowed")
    ids = _QUESTIONS["not_sent"].ids(case)
    found += [f"{len(those)} {words}" for words, those in ids.items() if those]
    found += [
        f"no request was planned for {gap:.1f} s from {start:.1f} s on"
        for start, gap in case.rows(_QUERIES["gaps"], gap=gap_s)[:EXAMPLES]
    ]
    figure = "unknown" if overall is None else f"p99 {overall:.1f} ms late"
    bound = f"p99 at most {most:g} ms late, no gap above {gap_s:.3g} s"
    return problems(figure, found, bound, [one for those in ids.values() for one in those])


_SENT = f"""
    SELECT
        quantile_disc({LATE_MS}, 0.99) FILTER (sent > 0 AND phase = 'baseline'),
        quantile_disc({LATE_MS}, 0.99) FILTER (sent > 0 AND phase <> 'warmup'),
        {RATE_PER_S}
    FROM requests
"""


def phases_kept(case: Case) -> Check:
    """Baseline and recovery lasted as long as the drill says, the faults at least so long."""
    lasted = dict(case.rows("SELECT name, sum(ended - began) FROM phases GROUP BY name"))
    found = []
    for name, due in case.phases.items():
        if name == "warmup" or (name == "faults" and not case.planned):
            continue
        seconds = lasted.get(name, 0.0)
        most = math.inf if name == "faults" else due + PHASE_LATE_S
        if not due - PHASE_EARLY_S <= seconds <= most:
            found.append(f"the phase {name} lasted {seconds:.1f} s, and {due:g} s were planned")
    return problems(f"{len(lasted)} phases", found, "as long as planned")


RULES: Rules = {
    rule.__name__: rule
    for rule in (faults_confirmed, faults_healed, phases_kept, load_sufficient, schedule_kept)
}
