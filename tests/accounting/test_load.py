"""The summary of a load test, with hand-made rows and exact figures."""

from typing import Any

import pytest

from bulkhead.accounting.load import (
    Effect,
    Group,
    Latency,
    Outcome,
    Summary,
    Writes,
    check_writes,
    latency,
    nearest_rank,
    outcome,
    summarise,
)
from bulkhead.records import ClientRow


def row(**changes: Any) -> ClientRow:
    """A GET that api-1 answered with 200 within 10 ms, except for `changes`."""
    values: dict[str, Any] = {
        "id": "request-1",
        "name": "GET /a",
        "method": "GET",
        "target": "/a",
        "planned": 100.0,
        "sent": 100.0,
        "done": 100.01,
        "status": 200,
        "instance": "api-1",
    }
    return ClientRow(**values | changes)


def write(number: int, **changes: Any) -> ClientRow:
    """A keyed POST that was answered with 201."""
    names = {"id": f"request-{number}", "key": f"key-{number}", "name": "POST /a"}
    return row(**names | {"method": "POST", "effect": "create", "status": 201} | changes)


def effect(number: int, **changes: str) -> Effect:
    """The effect of `write(number)`."""
    values = {"id": f"request-{number}", "key": f"key-{number}"} | changes
    return (values["id"], values["key"], "create", f"entry-{number}", 1)


EMPTY = Group(0, 0, 0, 0, 0, 0, {}, {}, None)


def test_no_rows() -> None:
    assert summarise([]) == Summary(EMPTY, {}, 0.0, 0.0, 0.0, {})
    assert summarise([]).share("api-1") == 0.0


def test_one_row() -> None:
    quarter = Latency(0.25, 0.25, 0.25, 0.25, 0.25)
    group = Group(1, 1, 1, 0, 0, 0, {}, {}, quarter)
    summary = summarise([row(done=100.25)])
    assert summary == Summary(group, {"GET /a": group}, 0.25, 4.0, 4.0, {"api-1": 1})
    assert summary.share("api-1") == 1.0


def test_one_row_that_took_no_time_has_no_rate() -> None:
    summary = summarise([row(done=100.0)])
    assert (summary.active_s, summary.requests_per_s, summary.throughput_per_s) == (0.0, 0.0, 0.0)


def test_only_failures() -> None:
    rows = [
        row(done=101.0, status=0, error="refused", instance=""),
        row(done=101.0, status=0, error="timeout", instance=""),
        row(done=102.0, status=0, error="timeout", instance=""),
    ]
    group = Group(3, 0, 0, 3, 0, 0, {"timeout": 2, "refused": 1}, {}, None)
    assert summarise(rows) == Summary(group, {"GET /a": group}, 2.0, 1.5, 0.0, {})


def test_everything_at_once_in_any_order() -> None:
    rows = [
        row(name="GET /b", planned=103.0, done=104.0, status=503, instance="api-2"),
        row(name="GET /b", planned=101.0, done=101.5, status=0, error="stopped", instance=""),
        row(planned=100.0, sent=100.5, done=102.0),
        row(planned=101.0, done=101.5, instance=""),
        write(1, planned=102.0, done=103.0, status=0, error="reset", instance=""),
        write(2, planned=102.0, done=103.0, status=0, error="stopped", instance=""),
        write(3, planned=102.0, done=103.0, status=0, error="refused", instance=""),
        write(4, planned=102.0, done=103.0, status=502, instance=""),
        write(5, planned=102.0, done=103.0, instance="api-2"),
    ]
    summary = summarise(rows)
    assert summary.all == Group(
        requests=9,
        answered=5,
        ok=3,
        failed=3,
        indeterminate=2,
        stopped=1,
        failed_by={"503": 1, "refused": 1, "502": 1},
        indeterminate_by={"reset": 1, "stopped": 1},
        latency=Latency(1.0, 2.0, 2.0, 2.0, 2.0),
    )
    assert list(summary.names) == ["GET /a", "GET /b", "POST /a"]
    assert summary.names["GET /a"].latency == Latency(0.5, 2.0, 2.0, 2.0, 2.0)
    assert summary.names["GET /b"] == Group(
        2, 1, 0, 1, 0, 1, {"503": 1}, {}, Latency(1.0, 1.0, 1.0, 1.0, 1.0)
    )
    assert (summary.active_s, summary.requests_per_s) == (4.0, 2.25)
    assert summary.throughput_per_s == 0.75
    assert summary.instances == {"": 2, "api-1": 1, "api-2": 2}
    assert summary.share("api-2") == 0.4
    assert summary.share("api-9") == 0.0


@pytest.mark.parametrize(
    ("status", "error", "effect", "expected"),
    [
        (200, "", "read", "ok"),
        (303, "", "create", "ok"),
        (399, "", "read", "ok"),
        (400, "", "read", "failed"),
        (404, "", "delete", "failed"),
        (502, "", "create", "failed"),
        (0, "refused", "read", "failed"),
        (0, "timeout", "read", "failed"),
        (0, "stopped", "read", "stopped"),
        (0, "refused", "replace", "failed"),  # nothing was sent
        (0, "timeout", "replace", "indeterminate"),
        (0, "closed", "change", "indeterminate"),
        (0, "reset", "delete", "indeterminate"),
        (0, "other", "create", "indeterminate"),
        (0, "stopped", "create", "indeterminate"),
    ],
)
def test_a_request_is_in_one_outcome(
    status: int, error: str, effect: str, expected: Outcome
) -> None:
    assert outcome(row(status=status, error=error, effect=effect)) == expected


def test_a_good_status_with_wrong_content_is_a_failure_with_that_name() -> None:
    rows = [row(wrong="the entry is not what was written"), row(status=404, wrong="status 404")]
    found = summarise(rows).all
    assert (found.ok, found.failed, found.answered) == (0, 2, 2)
    assert found.failed_by == {"the entry is not what was written": 1, "404": 1}


def test_quantiles_are_measured_values_by_nearest_rank() -> None:
    assert latency(range(1, 1001)) == Latency(500, 900, 990, 999, 1000)
    assert latency(range(1, 11)) == Latency(5, 9, 10, 10, 10)
    assert latency([3, 1, 2]) == Latency(2, 3, 3, 3, 3)
    assert latency([7]) == Latency(7, 7, 7, 7, 7)
    assert latency([]) is None


def test_ties_are_counted_one_by_one() -> None:
    assert latency([1] * 98 + [5, 9]) == Latency(1, 1, 5, 9, 9)


@pytest.mark.parametrize("count", [10, 100, 700, 1000, 2000, 100_000])
def test_a_rank_is_not_moved_by_binary_fractions(count: int) -> None:
    values = range(1, count + 1)
    assert nearest_rank(values, 900) == count * 9 // 10
    assert nearest_rank(values, 0) == 1
    assert nearest_rank(values, 1000) == count


def test_writes_that_agree_with_the_ledger() -> None:
    rows = [write(1), write(2, status=204, effect="delete"), row(), write(3, status=0)]
    assert check_writes(rows, [effect(1), effect(2)]) == Writes(2, 2, (), (), ())
    assert check_writes([], []) == Writes(0, 0, (), (), ())


def test_an_acknowledged_write_without_an_effect_is_lost() -> None:
    rows = [write(1), write(2), write(3, status=303), write(4, key="")]
    assert check_writes(rows, [effect(2)]).lost == ("request-1", "request-3", "request-4")


def test_a_replay_whose_first_attempt_had_another_id_is_not_lost() -> None:
    rows = [write(1, status=0, error="reset"), write(2, key="key-1", replayed=True)]
    checked = check_writes(rows, [effect(1)])
    assert checked.lost == ()
    assert checked.ghosts == ("request-1",)


@pytest.mark.parametrize("status", [0, 404, 503])
def test_a_write_that_was_not_acknowledged_cannot_be_lost(status: int) -> None:
    assert check_writes([write(1, status=status)], []) == Writes(0, 0, (), (), ())


def test_a_key_that_was_applied_twice_is_doubled() -> None:
    effects = [effect(1), effect(2), effect(3, key="key-1"), effect(4, key="key-1")]
    assert check_writes([], effects).doubled == ("request-3", "request-4")


def test_a_request_that_was_applied_twice_is_doubled_once() -> None:
    effects = [effect(1), effect(1, key="another"), effect(1, key="yet another")]
    assert check_writes([write(1)], effects) == Writes(1, 3, (), ("request-1",), ())


def test_effects_without_a_key_are_told_apart_by_their_request() -> None:
    keyless: list[Effect] = [("a", None, "create", "x", 1), ("b", None, "create", "y", 1)]
    empty: list[Effect] = [("c", "", "create", "x", 1), ("d", "", "create", "y", 1)]
    assert check_writes([], keyless + empty).doubled == ()


@pytest.mark.parametrize(("status", "error"), [(0, "timeout"), (0, "stopped"), (502, "")])
def test_a_write_that_was_applied_without_its_client_being_told_is_a_ghost(
    status: int, error: str
) -> None:
    rows = [write(1, status=status, error=error), write(2)]
    assert check_writes(rows, [effect(1), effect(2)]) == Writes(1, 2, (), (), ("request-1",))


def test_the_effect_of_someone_else_is_only_counted() -> None:
    assert check_writes([write(1)], [effect(1), effect(9)]) == Writes(1, 2, (), (), ())
