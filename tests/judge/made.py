"""One good run, made by hand, of which every test breaks one thing; and the judging of it.

17 s, five requests a second, alternately by the four api instances: reads, and writes with keys,
of which some change the same entry one after another. api-1 is killed once, at 107.5, and a read
starts from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from bulkhead.accounting import account
from bulkhead.judge.expect import Expect
from bulkhead.judge.judge import judge
from bulkhead.judge.verdict import Check, Verdict, together
from tests.support.runs import Ask, Failed, MadeRun

FIRST, REQUESTS = 100.1, 85
KILL = 107.5
INSTANCES = ("api-1", "api-2", "api-3", "api-4", "web-1", "web-2")
DUCKDB = duckdb.connect(config={"threads": 1})
ASKS: tuple[Ask, ...] = ("read", "create", "read", "replace", "change")


def good_run(path: Path) -> MadeRun:
    """A run that must pass, without and with its one injection."""
    run = MadeRun(path)
    run.witnessed = True
    run.used(7)  # reads are about an entry that was there before
    run.phases(warmup=100, baseline=102, faults=107, recovery=112, end=117)
    for name in INSTANCES:
        run.state(name, 100.0, "up")
    for number in range(REQUESTS):
        ask = ASKS[number % len(ASKS)]
        entry = "shared" if ask in ("replace", "change") else ""
        run.request(
            f"a-{number}",
            FIRST + number / 5,
            effect=ask,
            entry=entry,
            instance=f"api-{1 + number % 4}"
            if not KILL < FIRST + number / 5 < KILL + 1
            else "api-2",
            failed=[Failed("api-1", "died")] if number == 40 else [],
        )
    run.injection(1, "kill", "api-1", KILL)
    run.state("api-1", KILL, "dead")
    run.state("api-1", KILL + 1, "up")
    return run


def change(rows: list[Any], id: str, **changes: Any) -> None:
    """Change the one row of this id (of an effect: of this request)."""
    found = [
        at
        for at, row in enumerate(rows)
        if getattr(row, "id", None) == id or getattr(row, "request_id", None) == id
    ]
    assert len(found) == 1, (id, found)
    rows[found[0]] = msgspec.structs.replace(rows[found[0]], **changes)


def without(rows: list[Any], id: str) -> None:
    """Remove the rows of this id, of which there must be some."""
    kept = [
        row
        for row in rows
        if id not in (getattr(row, "id", None), getattr(row, "request_id", None))
    ]
    assert len(kept) < len(rows), id
    rows[:] = kept


# A test breaks one row of one observer, and then it does not fit the rows of the others any more.
# These checks tell of that, and of nothing else: test_rows.py, test_history.py, test_mutants.py.
AGREEMENT = frozenset(
    {
        "rows_whole",
        "executions_known",
        "executions_agree",
        "states_known",
        "values_known",
        "linearizable",
    }
)


def judge_whole(rows: duckdb.DuckDBPyConnection, planned: int = 1, **expect: Any) -> Verdict:
    """Judge an account of a run as small as these."""
    return judge(rows, Expect(**{"min_requests": 50} | expect), planned)


def judge_small(rows: duckdb.DuckDBPyConnection, planned: int = 1, **expect: Any) -> Verdict:
    """The same, but for whether the rows of all observers fit together."""
    whole = judge_whole(rows, planned, **expect)
    checks = tuple(one for one in whole.checks if one.name not in AGREEMENT)
    return replace(whole, verdict=together(checks), checks=checks)


@contextmanager
def accounted(run: MadeRun) -> Iterator[duckdb.DuckDBPyConnection]:
    """The account of a run, in memory and for as long as it is looked at.

    It takes half the time of one in a file, and none of these tests is about the file.
    """
    with DUCKDB.cursor() as rows:
        rows.execute("ATTACH ':memory:' AS run")
        try:
            rows.execute("USE run")
            account.fill(rows, run.write())
            yield rows
        finally:
            rows.execute("USE memory")
            rows.execute("DETACH run")


@contextmanager
def tampered(run: MadeRun, sql: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """The run's account after some SQL: what accounting itself would never write."""
    with accounted(run) as rows:
        rows.execute(sql)
        yield rows


def judged(run: MadeRun, planned: int = 1, **expect: Any) -> Verdict:
    """The verdict of a run as small as these."""
    with accounted(run) as rows:
        return judge_small(rows, planned, **expect)


def check(verdict: Verdict, name: str) -> Check:
    """The check of this name."""
    return next(one for one in verdict.checks if one.name == name)


def broken(verdict: Verdict) -> dict[str, str]:
    """The checks that did not pass, with what each of them says."""
    return {one.name: one.verdict for one in verdict.checks if one.verdict in ("FAIL", "INVALID")}


def assert_fails(verdict: Verdict, name: str, *examples: str) -> None:
    """This check alone fails, and names who offends."""
    assert broken(verdict) == {name: "FAIL"}
    assert verdict.verdict == "FAIL"
    found = check(verdict, name)
    assert (found.examples, found.count) == (examples, len(examples))
    assert found.message
