"""nothing_stale: writes of one entry, in the order in which they were sent, and in another."""

from typing import Any

from tests.judge.made import assert_fails, check, judged
from tests.support.runs import MadeRun


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


def test_a_late_write_that_timed_out_for_its_client_is_stale(run: MadeRun) -> None:
    timed_out = {"done": 110.14, "status": 0, "error": "timeout", "instance": ""}
    writes(run, older=timed_out, newer={}, first="newer")
    assert_fails(judged(run, indeterminate=1), "nothing_stale", "older")


def test_a_late_write_of_a_client_that_left_by_its_own_choice_is_not_stale(run: MadeRun) -> None:
    """Its instance goes on with it, whatever the client does next."""
    left = {"done": 110.14, "status": 0, "error": "gave_up", "instance": ""}
    writes(run, older=left, newer={}, first="newer")
    assert judged(run, indeterminate=1).verdict == "PASS"


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
