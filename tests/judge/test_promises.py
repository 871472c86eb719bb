"""The promises of every drill: from a good run, one thing broken each."""

from typing import Any

import pytest

from bulkhead.accounting import account
from tests.judge.made import (
    KILL,
    accounted,
    assert_fails,
    broken,
    change,
    check,
    judge_small,
    judge_whole,
    judged,
    without,
)
from tests.support.runs import OFFSET, Failed, MadeRun, address, boot


def test_a_good_run_passes(run: MadeRun) -> None:
    """From its file, as `bulkhead judge` has it; the other tests have their account in memory."""
    with account.opened(run.write()) as rows:
        verdict = judge_whole(rows)
    assert broken(verdict) == {}
    assert verdict.verdict == "PASS"


# accounted


def test_an_answer_that_the_proxy_does_not_know_is_unaccounted(run: MadeRun) -> None:
    without(run.proxies, "a-30")
    assert_fails(judged(run), "accounted", "a-30")


def killed_worker(run: MadeRun, at: float, confirmed: float = 0.01) -> None:
    run.injection(2, "nginx_worker", "proxy", at, confirmed=confirmed)


def test_an_answer_that_a_killed_worker_did_not_log_is_excused(run: MadeRun) -> None:
    without(run.proxies, "a-42")  # answered at 108.51
    killed_worker(run, at=108.6)
    verdict = judged(run, planned=2)
    assert verdict.verdict == "PASS"
    assert "1 answered by nginx workers that were killed" in check(verdict, "accounted").figure


@pytest.mark.parametrize("at", [107.9, 109.1])
def test_a_kill_at_another_time_excuses_nothing(run: MadeRun, at: float) -> None:
    without(run.proxies, "a-42")
    killed_worker(run, at)
    assert_fails(judged(run, planned=2), "accounted", "a-42")


def test_another_fault_excuses_nothing(run: MadeRun) -> None:
    without(run.proxies, "a-42")
    run.injection(2, "nginx_reload", "proxy", 108.6)
    assert_fails(judged(run, planned=2), "accounted", "a-42")


def test_a_killed_worker_excuses_no_more_answers_than_it_had_in_hand(run: MadeRun) -> None:
    """Nothing was in flight at 108.6, so one answer at most can have been about to be logged."""
    for id in ("a-42", "a-43"):  # answered at 108.51 and 108.71
        without(run.proxies, id)
    killed_worker(run, at=108.65, confirmed=0.01)
    verdict = judged(run, planned=2)
    assert check(verdict, "accounted").count == 1
    change(run.clients, "a-41", done=108.7)  # these two were in flight at 108.65
    change(run.clients, "a-40", done=108.7)
    assert judged(run, planned=2).verdict == "PASS"


def test_a_request_that_was_never_sent_cannot_be_logged(run: MadeRun) -> None:
    unsent: dict[str, Any] = {"status": 0, "error": "unsent", "sent": 0.0}
    change(run.clients, "a-50", **unsent)
    verdict = judged(run, not_sent=1)
    assert_fails(verdict, "accounted", "a-50")


def test_an_execution_that_no_attempt_explains_is_unaccounted(run: MadeRun) -> None:
    run.end(run.begin("a-30", t=106.11, instance="api-4"), t=106.12)
    assert_fails(judged(run), "accounted", "a-30")


def test_a_second_execution_at_the_same_instance_is_unaccounted(run: MadeRun) -> None:
    run.end(run.begin("a-30", t=106.11, instance="api-3"), t=106.12)
    assert_fails(judged(run), "accounted", "a-30")


def test_an_execution_at_each_instance_that_was_tried_is_explained(run: MadeRun) -> None:
    run.begin("a-40", t=108.101, instance="api-1")  # it died with it
    assert judged(run).verdict == "PASS"


# sent_once


def test_a_request_that_the_client_sent_twice(run: MadeRun) -> None:
    again = {"instance": "api-3", "boot": boot("api-3"), "addrs": address("api-3")}
    run.proxy("a-30", ended=OFFSET + 106.109, proxy_id="another", **again)
    verdict = judged(run)
    assert_fails(verdict, "sent_once", "a-30")
    assert verdict.figures["resent"] == 1


def test_a_sub_request_is_no_second_send(run: MadeRun) -> None:
    for _ in range(2):
        run.proxy("a-30.1", ended=OFFSET + 106.108)
    assert judged(run).verdict == "PASS"


# nothing_lost


def test_an_acknowledged_write_that_was_never_applied_is_lost(run: MadeRun) -> None:
    without(run.effects, "a-31")
    without_entry(run, "entry-a-31")
    verdict = judged(run)
    assert_fails(verdict, "nothing_lost", "a-31")
    assert verdict.figures["lost"] == 1


def without_entry(run: MadeRun, entry: str) -> None:
    del run.entries[entry]


def test_an_acknowledged_entry_that_is_missing_from_the_ledger_is_lost(run: MadeRun) -> None:
    without_entry(run, "entry-a-31")
    assert_fails(judged(run), "nothing_lost", "a-31")


def test_an_entry_that_went_back_to_an_older_version_is_lost(run: MadeRun) -> None:
    run.entry("shared", run.entries["shared"].version - 1)
    assert_fails(judged(run), "nothing_lost", "a-84")  # the last one that wrote it


def test_an_entry_that_is_gone_without_a_delete_is_lost(run: MadeRun) -> None:
    run.entry("entry-a-31", 1, deleted=True)
    assert_fails(judged(run), "nothing_lost", "a-31")


def test_a_deleted_entry_that_is_still_there_is_lost(run: MadeRun) -> None:
    run.request("a-90", 114.05, effect="delete", entry="entry-a-31")
    assert judged(run).verdict == "PASS"
    run.entry("entry-a-31", 2, deleted=False)
    assert_fails(judged(run), "nothing_lost", "a-90")


def test_an_entry_that_came_back_after_its_deletion_has_a_row_for_each(run: MadeRun) -> None:
    run.request("a-90", 114.05, effect="delete", entry="entry-a-31")
    run.request("a-91", 114.15, effect="replace", entry="entry-a-31")
    run.entries["what the ledger keeps of its deletion"] = run.entry("entry-a-31", 2, deleted=True)
    run.entry("entry-a-31", 3)
    assert judged(run).verdict == "PASS"


def test_a_replayed_answer_is_found_by_its_key(run: MadeRun) -> None:
    unknown = {"status": 0, "error": "timeout", "instance": ""}
    run.request("b-1", 110.05, effect="create", key="key-b", client=unknown)
    run.request("b-2", 110.15, effect="create", key="key-b", applied=None)
    assert judged(run, indeterminate=1).verdict == "PASS"
    for rows in (run.clients, run.proxies):
        change(rows, "b-2", key="another")
    assert_fails(judged(run, indeterminate=1), "nothing_lost", "b-2")


def test_a_write_that_a_sub_request_made_is_not_lost(run: MadeRun) -> None:
    run.request(
        "a-90",
        114.05,
        effect="create",
        instance="web-1",
        entry="entry-a-90",
        applied={"request_id": "a-90.1", "key": "made for the form"},
    )
    assert judged(run).verdict == "PASS"


@pytest.mark.parametrize(
    "answer", [{"status": 503}, {"status": 0, "error": "reset"}, {"wrong": "another entry"}]
)
def test_what_was_not_acknowledged_cannot_be_lost(run: MadeRun, answer: dict[str, Any]) -> None:
    without(run.effects, "a-41")
    without_entry(run, "entry-a-41")
    change(run.clients, "a-41", **answer)
    assert check(judged(run), "nothing_lost").verdict == "PASS"


# nothing_doubled


def test_a_request_that_was_applied_twice(run: MadeRun) -> None:
    run.effect("a-31", key="another", at=OFFSET + 106.3, entry_id="entry-b")
    run.entry("entry-b")
    verdict = judged(run)
    assert_fails(verdict, "nothing_doubled", "a-31")
    assert verdict.figures["doubled"] == 1


def test_a_key_that_was_applied_under_two_ids(run: MadeRun) -> None:
    change(run.effects, "a-36", key="key-a-31")
    change(run.clients, "a-36", key="key-a-31")
    change(run.proxies, "a-36", key="key-a-31")
    assert_fails(judged(run), "nothing_doubled", "a-36")


def test_a_write_that_two_sub_requests_applied(run: MadeRun) -> None:
    run.effect("a-31.1", key=None, at=OFFSET + 106.3, entry_id="entry-b")
    run.entry("entry-b")
    assert_fails(judged(run), "nothing_doubled", "a-31")


def unkeyed(run: MadeRun, id: str, at: float, **changes: Any) -> None:
    run.request(id, at, effect="create", key="", **changes)


def test_posts_without_a_key_are_told_apart(run: MadeRun) -> None:
    for number in range(3):
        unkeyed(run, f"b-{number}", 110.05 + number / 10)
    assert judged(run).verdict == "PASS"


@pytest.mark.parametrize("key", [None, ""])
def test_no_key_is_not_a_key_that_effects_share(run: MadeRun, key: str | None) -> None:
    unkeyed(run, "b-1", 110.05, applied={"key": key})
    unkeyed(run, "b-2", 110.15, applied={"key": key})
    assert judged(run).verdict == "PASS"
    unkeyed(run, "b-3", 110.25, applied=None)
    assert_fails(judged(run), "nothing_lost", "b-3")


def test_an_unkeyed_post_that_was_applied_twice(run: MadeRun) -> None:
    unkeyed(run, "b-1", 110.05)
    run.effect("b-1", key="proxy:another", at=OFFSET + 110.07, entry_id="entry-b")
    run.entry("entry-b")
    assert_fails(judged(run), "nothing_doubled", "b-1")


def test_a_key_of_the_proxy_that_was_applied_twice(run: MadeRun) -> None:
    unkeyed(run, "b-1", 110.05)
    unkeyed(run, "b-2", 110.15, applied={"key": "proxy:proxy-of-b-1"})
    assert_fails(judged(run), "nothing_doubled", "b-2")


# nothing_repeated


def died(run: MadeRun, id: str, key: str) -> None:
    """A create that died with api-1, and was executed by another instance."""
    failed = [Failed("api-1", "died")]
    run.request(id, 110.05, effect="create", key=key, instance="api-2", failed=failed)
    asked = {"method": "POST", "target": "/api/v1/entries", "key": key}
    run.begin(id, t=110.051, instance="api-1", **asked)


def test_what_is_harmless_may_be_executed_again(run: MadeRun) -> None:
    died(run, "b-1", "key-b-1")
    assert judged(run).verdict == "PASS"


def test_a_non_retryable_request_that_was_executed_again(run: MadeRun) -> None:
    """Though it was applied once: its first instance died before the commit."""
    died(run, "b-1", "")
    assert_fails(judged(run), "nothing_repeated", "b-1")


def test_a_non_retryable_request_that_was_refused_and_retried(run: MadeRun) -> None:
    unkeyed(run, "b-1", 110.05, failed=[Failed("api-1", "refused")])
    assert judged(run).verdict == "PASS"


# explained


def test_a_failure_that_nothing_explains(run: MadeRun) -> None:
    change(run.clients, "a-42", status=0, error="reset", instance="")
    without(run.proxies, "a-42")
    verdict = judged(run, failed_retryable=1)
    assert_fails(verdict, "explained", "a-42")
    assert verdict.figures["unexplained"] == 1


def test_a_failure_with_a_cause_is_explained(run: MadeRun) -> None:
    change(run.clients, "a-42", status=0, error="timeout", instance="")
    assert judged(run, failed_retryable=1).verdict == "PASS"


def test_a_cause_or_none_that_is_not_of_the_closed_set_is_no_explanation(run: MadeRun) -> None:
    change(run.clients, "a-42", status=0, error="timeout", instance="")
    with accounted(run) as rows:
        for cause in ("bad luck", ""):
            rows.execute("UPDATE requests SET cause = ? WHERE id = 'a-42'", [cause])
            assert_fails(judge_small(rows, failed_retryable=1), "explained", "a-42")


# all_back


def test_an_instance_that_did_not_come_back(run: MadeRun) -> None:
    run.state("web-2", 111.0, "dead")
    assert_fails(judged(run), "all_back", "web-2")


def test_an_instance_that_is_still_stopped(run: MadeRun) -> None:
    run.state("api-1", KILL + 3, "stopped")
    assert_fails(judged(run), "all_back", "api-1")


# unacknowledged


def test_an_unacknowledged_effect_is_a_figure_and_decides_nothing(run: MadeRun) -> None:
    change(run.clients, "a-41", status=0, error="timeout", instance="")
    change(run.clients, "a-42", status=0, error="timeout", instance="")  # a read
    verdict = judged(run, indeterminate=1, failed_retryable=1)
    assert verdict.verdict == "PASS"
    assert verdict.figures["unacknowledged"] == 1
    found = check(verdict, "unacknowledged")
    assert (found.verdict, found.examples) == ("INFO", ("a-41",))


def test_twenty_examples_are_given_and_all_are_counted(run: MadeRun) -> None:
    for number in range(25):
        run.request(f"b-{number:02}", 110 + number / 100, failed=[Failed("api-3")], proxy=None)
    found = check(judged(run), "accounted")
    assert found.count == 25
    assert found.examples == tuple(f"b-{number:02}" for number in range(20))
