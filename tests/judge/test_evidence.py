"""Evidence that is not whole or not of one piece: INVALID."""

from pathlib import Path

import pytest

from bulkhead.accounting import account
from bulkhead.judge.figures import NAMES
from bulkhead.judge.verdict import Verdict
from tests.judge.made import broken, change, check, judge_small, judged, tampered, without
from tests.support.runs import OFFSET, MadeRun


def assert_invalid(verdict: Verdict, name: str, *, says: str = "", count: int = 1) -> None:
    """This check alone is not passed, and says why."""
    assert broken(verdict) == {name: "INVALID"}
    assert verdict.verdict == "INVALID"
    found = check(verdict, name)
    assert says in found.message
    assert found.count == count


# not_empty


def test_a_run_without_requests_is_invalid_and_nothing_else_is_judged(run: MadeRun) -> None:
    run.clients.clear()
    verdict = judged(run)
    assert_invalid(verdict, "not_empty", says="a run without requests shows nothing")
    assert len(verdict.checks) == 1
    assert verdict.figures == dict.fromkeys(NAMES)


def test_a_folder_without_any_row_is_invalid(tmp_path: Path) -> None:
    assert judged(MadeRun(tmp_path / "run")).verdict == "INVALID"


def test_an_account_without_requests_is_invalid(run: MadeRun) -> None:
    with tampered(run, "DROP TABLE requests") as rows:
        assert_invalid(judge_small(rows), "not_empty", says="could not be checked")


# run_complete


def test_an_observer_without_rows(run: MadeRun) -> None:
    run.services.clear()
    assert_invalid(judged(run), "run_complete", says="no rows of the services")


def test_a_run_whose_instances_nobody_watched(run: MadeRun) -> None:
    run.events[:] = [one for one in run.events if one.kind != "state"]
    assert_invalid(judged(run), "run_complete", says="no rows of the instances' states")


def test_two_requests_of_one_id(run: MadeRun) -> None:
    run.client("a-30", planned=106.1, sent=106.1, done=106.11, instance="api-3")
    verdict = judged(run)
    # The second one cannot be what the proxy has logged.
    assert broken(verdict) == {"run_complete": "INVALID", "observers_agree": "INVALID"}
    assert "86 client rows with 85 ids" in check(verdict, "run_complete").message


def test_a_request_without_an_outcome(run: MadeRun) -> None:
    with tampered(
        run, "UPDATE requests SET outcome = 'well', cause = 'shed' WHERE id = 'a-30'"
    ) as rows:
        assert_invalid(judge_small(rows), "run_complete", says="1 requests have no outcome")


@pytest.mark.parametrize("phase", ["recovery", "end"])
def test_a_run_that_was_broken_off(run: MadeRun, phase: str) -> None:
    run.events[:] = [one for one in run.events if one.kind != "phase" or one.target != phase]
    assert_invalid(judged(run), "run_complete", says=f"the phase {phase} was not reached")


def test_without_phases_nothing_can_be_compared(run: MadeRun) -> None:
    run.events[:] = [one for one in run.events if one.kind != "phase"]
    verdict = judged(run)
    assert verdict.verdict == "INVALID"
    assert {"run_complete", "load_sufficient", "schedule_kept"} <= set(broken(verdict))


def test_only_a_drill_with_faults_needs_their_phase(run: MadeRun) -> None:
    run.events[:] = [one for one in run.events if one.target != "faults" and not one.fault]
    assert judged(run, planned=0).verdict == "PASS"


# rows_written


def test_rows_that_a_service_could_not_write(run: MadeRun) -> None:
    run.dropped("api-1", t=109.0, n=3)
    run.dropped("api-2", t=109.0, n=4)
    verdict = judged(run)
    assert_invalid(verdict, "rows_written", says="4 service rows of api-2", count=2)
    assert check(verdict, "rows_written").figure == "7 rows lost"


def test_rows_that_the_watchdog_could_not_write(run: MadeRun) -> None:
    run.watch(109.0, "dropped", "watch", "2")
    assert_invalid(judged(run), "rows_written", says="2 watch rows of watch could not be written")


def test_a_line_that_was_cut(run: MadeRun) -> None:
    folder = run.write()
    folder.proxy_rows.write_bytes(folder.proxy_rows.read_bytes() + b'{"id":"a-99","prox')
    with account.opened(folder) as rows:
        assert_invalid(judge_small(rows), "rows_written", says="1 lines of proxy.jsonl were cut")


def test_where_rows_are_lost_a_missing_row_proves_nothing(run: MadeRun) -> None:
    without(run.proxies, "a-30")
    assert broken(judged(run)) == {"accounted": "FAIL"}
    run.dropped("api-1", t=109.0, n=3)
    assert broken(judged(run)) == {"accounted": "INVALID", "rows_written": "INVALID"}


# clocks_agree


def test_an_execution_before_its_request_was_sent(run: MadeRun) -> None:
    change_begin(run, "a-30", 106.0951)
    assert judged(run).verdict == "PASS"
    change_begin(run, "a-30", 106.0949)
    assert_invalid(judged(run), "clocks_agree", says="1 requests at impossible times")


def change_begin(run: MadeRun, id: str, t: float) -> None:
    begun = next(row for row in run.services if row.id == id and row.kind == "begin")
    run.services.remove(begun)
    run.begin(id, t=t, n=begun.n, instance=begun.instance)


@pytest.mark.parametrize("ended", [106.11 + 0.51, 106.1 + 0.008 - 0.51])
def test_a_wall_clock_that_was_set_during_the_run(run: MadeRun, ended: float) -> None:
    change(run.proxies, "a-30", ended=OFFSET + ended)
    assert_invalid(judged(run), "clocks_agree")


def test_a_request_that_its_client_gave_up_may_be_logged_later(run: MadeRun) -> None:
    change(run.clients, "a-30", status=0, error="timeout", instance="")
    change(run.proxies, "a-30", ended=OFFSET + 108, took=1.9, status=499)
    assert judged(run, failed_retryable=1).verdict == "PASS"


# observers_agree


def test_an_answer_that_names_no_instance(run: MadeRun) -> None:
    change(run.clients, "a-30", instance="")
    assert_invalid(judged(run), "observers_agree")


def test_an_answer_that_is_another_one_to_the_proxy(run: MadeRun) -> None:
    change(run.proxies, "a-30", status=304)
    change(run.proxies, "a-32", instance="api-4")
    assert_invalid(judged(run), "observers_agree", count=2)


# unrelated


def test_a_request_that_no_client_knows(run: MadeRun) -> None:
    run.proxy("somebody-1", ended=OFFSET + 106.0)
    verdict = judged(run)
    assert_invalid(verdict, "unrelated")
    assert check(verdict, "unrelated").examples == ("somebody-1",)
    assert verdict.figures["unrelated"] == 1


def test_an_execution_and_an_effect_that_no_client_knows(run: MadeRun) -> None:
    run.begin("somebody-1", t=106.0)
    run.effect("somebody-2")
    run.entry("entry-somebody-2")
    assert_invalid(judged(run), "unrelated", count=2)


def test_probes_and_sub_requests_are_not_foreign(run: MadeRun) -> None:
    run.end(run.begin("readiness-probe", t=106.0), t=106.1)
    run.proxy("a-30.1", ended=OFFSET + 106.108)
    run.end(run.begin("a-30.1", t=106.105), t=106.106)
    assert judged(run).verdict == "PASS"


# how checks come together


def test_a_check_that_breaks_is_never_a_pass(run: MadeRun) -> None:
    with tampered(run, "DROP TABLE entries") as rows:
        verdict = judge_small(rows)
    assert_invalid(verdict, "nothing_lost", says="could not be checked: Catalog Error")
    assert verdict.figures["lost"] is None
    assert verdict.figures["doubled"] == 0


def test_figures_that_cannot_be_taken_are_never_a_pass(run: MadeRun) -> None:
    with tampered(run, "ALTER TABLE requests DROP COLUMN replays") as rows:
        verdict = judge_small(rows)
    assert_invalid(verdict, "bounds", says="could not be checked")
    assert verdict.figures["answered"] is None


def test_what_the_stack_did_wrong_outranks_poor_evidence(run: MadeRun) -> None:
    run.proxy("somebody-1", ended=OFFSET + 106.0)
    without(run.proxies, "a-30")
    verdict = judged(run)
    assert broken(verdict) == {"unrelated": "INVALID", "accounted": "FAIL"}
    assert verdict.verdict == "FAIL"
