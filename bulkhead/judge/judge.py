"""judge: a run's account and what its drill expects -> a verdict. Docs: docs/verdict.md.

It reads the account and nothing else, so an old run can be judged again with no stack at hand.
"""

from collections.abc import Iterable, Mapping

from duckdb import DuckDBPyConnection

from bulkhead.judge import experiment, rules
from bulkhead.judge.bounds import bounds
from bulkhead.judge.case import Case, Rules, apply, unknown
from bulkhead.judge.expect import Expect
from bulkhead.judge.figures import NAMES, Figures, counted, measured
from bulkhead.judge.verdict import Check, Verdict, together

EVIDENCE: Rules = {**rules.EVIDENCE, **experiment.RULES}


def judge(
    account: DuckDBPyConnection,
    expect: Expect,
    planned: int,
    phases: Mapping[str, float] | None = None,
) -> Verdict:
    """Hold a run against every rule and against its drill's bounds.

    `planned` is how many injections the drill's schedule has, and `phases` how many seconds each
    phase: a run in which they did not happen is not the run that was asked for.
    """
    case = Case(account, expect, planned, phases or {})
    figures: Figures = dict.fromkeys(NAMES)
    empty = apply("not_empty", rules.not_empty, case, "INVALID")
    if empty.verdict != "PASS":
        return Verdict("INVALID", (empty,), figures)
    checks = [empty]
    checks += [apply(name, rule, case, "INVALID") for name, rule in EVIDENCE.items()]
    # Rows that are known to be lost are no proof that something was not written down.
    rows_lost = not _passed(checks, "rows_written")
    checks += [
        apply(name, rule, case, "INVALID" if rows_lost and name == "accounted" else "FAIL")
        for name, rule in rules.PROMISES.items()
    ]
    checks += [apply(name, rule, case, "INFO") for name, rule in rules.NOTES.items()]
    figures |= counted(checks)
    try:
        figures |= measured(case)
        checks += bounds(case, figures, on_schedule=_passed(checks, "schedule_kept"))
    except Exception as error:
        checks.append(unknown("bounds", error))
    return Verdict(together(checks), tuple(checks), figures)


def _passed(checks: Iterable[Check], name: str) -> bool:
    return any(one.name == name and one.verdict == "PASS" for one in checks)
