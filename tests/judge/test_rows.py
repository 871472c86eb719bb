"""Evidence that is missing or does not fit: from a good run, one thing broken each."""

from pathlib import Path

import msgspec
import pytest

from bulkhead.judge.verdict import Verdict
from bulkhead.records import Found
from tests.judge.made import accounted, change, check, good_run, judge_whole, without
from tests.judge.recorded import unpack
from tests.judge.test_mutants import first_objection
from tests.support.runs import OFFSET, MadeRun


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    return good_run(tmp_path / "run")


def judged(run: MadeRun) -> Verdict:
    with accounted(run) as rows:
        return judge_whole(rows)


def assert_says(verdict: Verdict, name: str, ruling: str, says: str) -> None:
    found = check(verdict, name)
    assert (found.verdict, verdict.verdict) == (ruling, ruling)
    assert says in found.message


def test_a_good_run_whose_service_rows_were_cut_is_no_pass(tmp_path: Path) -> None:
    recorded = unpack(tmp_path)
    lines = recorded.service_rows.read_bytes().splitlines(keepends=True)
    recorded.service_rows.write_bytes(b"".join(lines[:2]))
    assert first_objection(recorded)


def test_an_answer_of_an_instance_that_executed_nothing(run: MadeRun) -> None:
    without(run.services, "a-30")
    assert_says(judged(run), "executions_known", "INVALID", "1 answers of instances without")


def test_an_execution_without_an_end_though_its_process_lived_on(run: MadeRun) -> None:
    run.services[:] = [row for row in run.services if (row.id, row.kind) != ("a-30", "end")]
    assert_says(judged(run), "executions_known", "INVALID", "1 executions without an end")


def test_what_died_with_its_process_needs_no_end(run: MadeRun) -> None:
    """api-1 is killed at 107.5, and a-36 was the last that it was asked for before."""
    ids = [row.id for row in run.services if row.instance == "api-1" and row.t < 107.5]
    late = [row for row in run.services if row.instance == "api-1" and row.t > 107.5]
    for row in late:
        at = run.services.index(row)
        boot = f"{row.pid}.99"
        run.services[at] = msgspec.structs.replace(row, boot=boot)
        for rows in (run.clients, run.proxies):
            change(rows, row.id, boot=boot) if row.kind == "begin" else None
        if row.kind == "begin" and any(one.request_id == row.id for one in run.effects):
            change(run.effects, row.id, boot=boot)
    run.services[:] = [row for row in run.services if (row.id, row.kind) != (ids[-1], "end")]
    assert judged(run).verdict == "PASS"


def test_a_hung_worker_of_a_gunicorn_is_replaced(run: MadeRun) -> None:
    """The watchdog tells of its successor, not of its end."""
    run.watch(110.0, "hang", "web-1", "8206 no turn for 0.61 s")
    assert_says(judged(run), "states_known", "INVALID", "1 kills of what hung without a death")
    run.watch(110.4, "ready", "web-1", "8299")
    assert judged(run).verdict == "PASS"


def test_what_dies_before_it_is_ready_has_been_dead_all_along(run: MadeRun) -> None:
    """The observer only connects: it sees one death where the watchdog sees two."""
    run.state("web-2", 108.0, "dead")
    run.watch(111.9, "started", "web-2", "9001")
    run.watch(112.0, "exit", "web-2", "9001")
    run.state("web-2", 114.0, "up")
    assert judged(run).verdict == "PASS"
    crash = next(row for row in run.watches if row.kind == "started" and row.detail == "9001")
    run.watches[run.watches.index(crash)] = msgspec.structs.replace(crash, kind="ready")
    says = "1 deaths that only one of observer and watchdog has seen"
    assert_says(judged(run), "states_known", "INVALID", says)


def test_an_instance_that_nobody_watched(run: MadeRun) -> None:
    run.events[:] = [one for one in run.events if one.target != "web-2"]
    assert_says(judged(run), "states_known", "INVALID", "1 instances that nobody watched")


def test_a_request_that_is_missing_from_its_generators_numbers(run: MadeRun) -> None:
    for rows in (run.clients, run.proxies, run.services):
        without(rows, "a-30")
    assert_says(judged(run), "rows_whole", "INVALID", "1 requests missing from between")


def test_a_class_that_the_proxy_made_up(run: MadeRun) -> None:
    change(run.proxies, "a-31", request_class="non_retryable")
    assert_says(judged(run), "class_kept", "FAIL", "1 requests that the proxy took")


def test_an_effect_after_its_acknowledgement(run: MadeRun) -> None:
    done = next(row.done for row in run.clients if row.id == "a-31")
    change(run.effects, "a-31", at=OFFSET + done + 0.2)
    assert_says(judged(run), "nothing_early", "FAIL", "1 writes acknowledged before")


@pytest.mark.parametrize(
    ("id", "found", "says"),
    [
        ("a-30", Found("entry-a-1", 1, 77), "with what nobody wrote"),
        ("a-30", Found("entry-a-81", 1, 49), "with what was written only later"),
        ("a-30", Found("shared", 2, 3), "with less than was known before"),
    ],
)
def test_a_read_that_no_write_explains(run: MadeRun, id: str, found: Found, says: str) -> None:
    """a-1, a-6, ... create; a-3, a-8, ... replace and a-4, a-9, ... change the shared entry."""
    change(run.clients, id, found=[found])
    assert_says(judged(run), "linearizable", "FAIL", says)


def test_a_list_that_leaves_out_what_is_there(run: MadeRun) -> None:
    target = "/api/v1/entries?limit=20"
    for rows in (run.clients, run.proxies):
        change(rows, "a-30", target=target)
    change(run.clients, "a-30", found=[])
    run.services[:] = [
        msgspec.structs.replace(row, target=target) if row.id == "a-30" else row
        for row in run.services
    ]
    assert_says(judged(run), "linearizable", "FAIL", "lists that leave entries out")


def test_a_write_that_was_applied_with_another_value(run: MadeRun) -> None:
    change(run.effects, "a-31", amount=7)
    assert_says(judged(run), "linearizable", "FAIL", "as something else than was asked for")
