"""The promises of every drill: from a good run, one thing broken each."""

from pathlib import Path
from typing import Any

import pytest

from bulkhead.accounting import account
from bulkhead.judge.verdict import Verdict
from tests.judge.made import (
    KILL,
    accounted,
    broken,
    change,
    check,
    good_run,
    judge_small,
    judged,
    without,
)
from tests.support.runs import OFFSET, Failed, MadeRun


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    return good_run(tmp_path / "run")


def assert_fails(verdict: Verdict, name: str, *examples: str) -> None:
    """This check alone fails, and names who offends."""
    assert broken(verdict) == {name: "FAIL"}
    assert verdict.verdict == "FAIL"
    found = check(verdict, name)
    assert (found.examples, found.count) == (examples, len(examples))
    assert found.message


def test_a_good_run_passes(run: MadeRun) -> None:
    """From its file, as `bulkhead judge` has it; the other tests have their account in memory."""
    with account.opened(run.write()) as rows:
        verdict = judge_small(rows)
    assert broken(verdict) == {}
    assert verdict.verdict == "PASS"


# accounted


def test_an_answer_that_the_proxy_does_not_know_is_unaccounted(run: MadeRun) -> None:
    without(run.proxies, "a-30")
    assert_fails(judged(run), "accounted", "a-30")


def killed_worker(run: MadeRun, at: float, held: float = 0.01) -> None:
    run.injection(2, "nginx_worker", "proxy", at, held=held)


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
    killed_worker(run, at=108.65, held=0.01)
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
    run.proxy(
        "a-30", ended=OFFSET + 106.109, instance="api-3", proxy_id="another", addrs="127.0.0.1:8103"
    )
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
    change(run.clients, "b-2", key="another")
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


def test_a_request_of_class_once_that_was_executed_again(run: MadeRun) -> None:
    """Though it was applied once: its first instance died before the commit."""
    died(run, "b-1", "")
    assert_fails(judged(run), "nothing_repeated", "b-1")


def test_a_request_of_class_once_that_was_refused_and_moved_on(run: MadeRun) -> None:
    unkeyed(run, "b-1", 110.05, failed=[Failed("api-1", "refused")])
    assert judged(run).verdict == "PASS"


# nothing_stale


def writes(run: MadeRun, older: dict[str, Any], newer: dict[str, Any], first: str) -> None:
    """Two PUTs of one entry, sent at 110.05 and 110.15, of which the ledger applies one first."""
    run.request("made", 109.05, effect="create", entry="entry-o")
    asked = {"older": (110.05, older), "newer": (110.15, newer)}
    for id in (first, "older" if first == "newer" else "newer"):
        at, client = asked[id]
        run.request(id, at, effect="replace", entry="entry-o", client=client)


def test_an_older_write_that_overwrites_a_newer_one_is_stale(run: MadeRun) -> None:
    writes(run, older={"done": 110.14}, newer={}, first="newer")
    verdict = judged(run)
    assert_fails(verdict, "nothing_stale", "older")
    assert verdict.figures["stale"] == 1


def test_a_late_write_of_a_client_that_had_given_up_is_stale(run: MadeRun) -> None:
    gave_up = {"done": 110.14, "status": 0, "error": "timeout", "instance": ""}
    writes(run, older=gave_up, newer={}, first="newer")
    assert_fails(judged(run, indeterminate=1), "nothing_stale", "older")


def test_writes_that_overlap_may_be_applied_in_either_order(run: MadeRun) -> None:
    writes(run, older={"done": 110.155}, newer={}, first="newer")
    assert judged(run).verdict == "PASS"


def test_a_write_that_ends_as_the_next_is_sent_may_be_applied_after_it(run: MadeRun) -> None:
    writes(run, older={"done": 110.15}, newer={}, first="newer")
    assert judged(run).verdict == "PASS"


def test_writes_in_the_order_of_their_sending_are_not_stale(run: MadeRun) -> None:
    writes(run, older={"done": 110.14}, newer={}, first="older")
    assert judged(run).verdict == "PASS"


def test_a_newer_write_that_was_not_acknowledged_may_be_overwritten(run: MadeRun) -> None:
    unknown = {"status": 0, "error": "timeout", "instance": ""}
    writes(run, older={"done": 110.14}, newer=unknown, first="newer")
    assert judged(run, indeterminate=1).verdict == "PASS"


def test_writes_of_different_entries_are_in_no_order(run: MadeRun) -> None:
    run.request("newer", 110.15, effect="create")
    run.request("older", 110.05, effect="create", client={"done": 110.14})
    assert judged(run).verdict == "PASS"


def test_a_write_far_behind_a_newer_one_is_stale_too(run: MadeRun) -> None:
    writes(run, older={"done": 110.14}, newer={}, first="newer")
    moved = run.effects.pop()
    assert moved.request_id == "older"
    for number in range(3):  # an unacknowledged write between the two hides nothing
        run.request(
            f"b-{number}",
            110.2 + number / 100,
            effect="replace",
            entry="entry-o",
            client={"status": 0, "error": "timeout", "instance": ""},
        )
    run.effect("older", key="key-older", op="replace", entry_id="entry-o", version=6)
    run.entry("entry-o", 6)
    assert check(judged(run), "nothing_stale").examples == ("older",)


# explained


def test_a_failure_that_nothing_explains(run: MadeRun) -> None:
    change(run.clients, "a-42", status=0, error="reset", instance="")
    without(run.proxies, "a-42")
    verdict = judged(run, failed_repeatable=1)
    assert_fails(verdict, "explained", "a-42")
    assert verdict.figures["unexplained"] == 1


def test_a_failure_with_a_cause_is_explained(run: MadeRun) -> None:
    change(run.clients, "a-42", status=0, error="timeout", instance="")
    assert judged(run, failed_repeatable=1).verdict == "PASS"


def test_a_cause_or_none_that_is_not_of_the_closed_set_is_no_explanation(run: MadeRun) -> None:
    change(run.clients, "a-42", status=0, error="timeout", instance="")
    with accounted(run) as rows:
        for cause in ("bad luck", ""):
            rows.execute("UPDATE requests SET cause = ? WHERE id = 'a-42'", [cause])
            assert_fails(judge_small(rows, failed_repeatable=1), "explained", "a-42")


# all_back


def test_an_instance_that_did_not_come_back(run: MadeRun) -> None:
    run.state("web-2", 111.0, "dead")
    assert_fails(judged(run), "all_back", "web-2")


def test_an_instance_that_is_still_stopped(run: MadeRun) -> None:
    run.state("api-1", KILL + 3, "stopped")
    assert_fails(judged(run), "all_back", "api-1")


# ghosts


def test_a_ghost_is_a_figure_and_decides_nothing(run: MadeRun) -> None:
    change(run.clients, "a-41", status=0, error="timeout", instance="")
    change(run.clients, "a-42", status=0, error="timeout", instance="")  # a read
    verdict = judged(run, indeterminate=1, failed_repeatable=1)
    assert verdict.verdict == "PASS"
    assert verdict.figures["ghosts"] == 1
    found = check(verdict, "ghosts")
    assert (found.verdict, found.examples) == ("INFO", ("a-41",))


def test_twenty_examples_are_given_and_all_are_counted(run: MadeRun) -> None:
    for number in range(25):
        run.request(f"b-{number:02}", 110 + number / 100, failed=[Failed("api-3")], proxy=None)
    found = check(judged(run), "accounted")
    assert found.count == 25
    assert found.examples == tuple(f"b-{number:02}" for number in range(20))
