"""judge: a run's account and what its drill expects -> a verdict. Docs: docs/verdict.md.

It reads the account and nothing else, so an old run can be judged again with no stack at hand.
"""

from collections.abc import Iterable

from duckdb import DuckDBPyConnection

from bulkhead.judge import evidence, experiment, promises
from bulkhead.judge.bounds import bounds
from bulkhead.judge.case import Case, apply, unknown
from bulkhead.judge.expect import Expect
from bulkhead.judge.figures import NAMES, Figures, counted, measured
from bulkhead.judge.verdict import Check, Verdict, together


def judge(account: DuckDBPyConnection, expect: Expect, planned: int) -> Verdict:
    """Hold a run against every rule and against its drill's bounds.

    `planned` is how many injections the drill's schedule has: a run in which they did not happen
    is not the run that was asked for.
    """
    case = Case(account, expect, planned)
    figures: Figures = dict.fromkeys(NAMES)
    empty = apply(evidence.not_empty, case, "INVALID")
    if empty.verdict != "PASS":
        return Verdict("INVALID", (empty,), figures)
    checks = [empty]
    checks += [apply(rule, case, "INVALID") for rule in (*evidence.RULES, *experiment.RULES)]
    checks += [apply(rule, case, "FAIL") for rule in promises.RULES]
    checks += [apply(rule, case, "INFO") for rule in promises.NOTES]
    figures |= counted(checks)
    try:
        figures |= measured(case)
        checks += bounds(case, figures, on_schedule=_passed(checks, "schedule_kept"))
    except Exception as error:
        checks.append(unknown("bounds", error))
    return Verdict(together(checks), tuple(checks), figures)


def _passed(checks: Iterable[Check], name: str) -> bool:
    return any(one.name == name and one.verdict == "PASS" for one in checks)
