"""A drill's bounds: what is just kept, what is just broken, and what the run cannot tell."""

from collections.abc import Callable
from typing import Any

import duckdb
import msgspec
import pytest

from bulkhead.judge.bounds import LOWER, UPPER
from bulkhead.judge.expect import Expect
from bulkhead.judge.figures import NAMES
from tests.judge.made import (
    KILL,
    accounted,
    broken,
    change,
    check,
    judge_small,
    judged,
    without,
)
from tests.support.ranks import nearest_rank
from tests.support.runs import OFFSET, Failed, MadeRun

GAVE_UP: dict[str, Any] = {"status": 0, "error": "timeout", "instance": ""}
UNSENT: dict[str, Any] = {"status": 0, "error": "unsent", "sent": 0.0, "instance": ""}


def fail_retryable(run: MadeRun) -> None:
    change(run.clients, "a-50", **GAVE_UP)
    change(run.clients, "a-52", **GAVE_UP)


def fail_non_retryable(run: MadeRun) -> None:
    for number in range(2):
        lost: dict[str, Any] = {"addrs": "127.0.0.1:8102", "statuses": "502", "header": "-"}
        run.request(
            f"once-{number}", 110 + number / 10, effect="create", key="", status=502,
            proxy=lost, end=None, applied=None, instance="api-2",
        )  # fmt: skip


def leave_unknown(run: MadeRun) -> None:
    change(run.clients, "a-51", **GAVE_UP)
    change(run.clients, "a-53", **GAVE_UP)


def leave_unsent(run: MadeRun) -> None:
    for number in range(2):
        run.client(f"b-{number}", planned=108.1 + number, done=108.2 + number, **UNSENT)


def move_on(run: MadeRun) -> None:
    run.request("b-0", 108.0, instance="api-2", failed=[Failed("api-1")])  # besides a-40


def delay(run: MadeRun) -> None:
    for number, at in enumerate((108.0, 114.0)):
        run.request(f"b-{number}", at, took=0.3)
    run.request("b-9", 101.0, took=0.3)  # of the warm-up


def slow_down(at: float) -> Callable[[MadeRun], None]:
    def slow(run: MadeRun) -> None:
        run.request("b-0", at, took=0.02)

    return slow


def die_longer(run: MadeRun) -> None:
    run.state("api-2", KILL, "dead")
    run.state("api-2", KILL + 0.5, "stopped")
    run.state("api-2", KILL + 1.5, "up")


def fail_late(run: MadeRun) -> None:
    change(run.clients, "a-50", **GAVE_UP, done=KILL + 5.03)
    without(run.proxies, "a-50")


def never_settle(run: MadeRun) -> None:
    """Two seconds into the recovery one of its ten requests is late, and another fails."""
    change(run.clients, "a-65", done=114.4)  # planned at 113.1
    change(run.proxies, "a-65", ended=OFFSET + 114.4, took=1.2)
    change(run.clients, "a-67", **GAVE_UP)  # a read, planned at 113.5
    run.request("late at the end", 116.5, took=0.4, client={"planned": 115.9, "sent": 115.9})


def die_with_it(run: MadeRun) -> None:
    """Two processes in turn; a-40 has one already."""
    run.request("b-0", 110.0, instance="api-3", failed=[Failed("api-1"), Failed("api-2")])
    begun = next(row for row in run.services if row.id == "b-0" and row.kind == "begin")
    run.services += [
        msgspec.structs.replace(begun, instance=f"api-{n}", boot=f"{n}.1", pid=n) for n in (1, 2)
    ]


def kill_hung(run: MadeRun) -> None:
    run.watch(KILL, "hang", "api-1", "pid 8101: stopped")
    run.watch(KILL + 1, "ready", "api-1", "pid 8105")
    run.watch(KILL + 2, "hang", "web-1", "pid 8205: no turn for 0.61 s")


def try_again(run: MadeRun) -> None:
    """25 requests and 2 retries during the faults: that of a-40, and that of one sub-request."""
    run.request("a-50.1", 110.11, client=None, failed=[Failed("api"), Failed("api-1")])


def wait_in_hold(run: MadeRun) -> None:
    for id in ("a-50", "a-52"):
        change(run.proxies, id, queued=0.001)
    run.request("a-51.1", 110.3, client=None, proxy={"queued": 1.0})  # not the client's own


def crowd(run: MadeRun) -> None:
    """Four at once at api-3, one of which its client has left; one more later, one elsewhere."""
    for number in range(3):
        run.request(f"b-{number}", 114.0, took=0.05, instance="api-3")
    left = {"status": 0, "error": "gave_up", "instance": ""}
    run.request("b-3", 114.0, took=0.05, instance="api-3", client=left)
    run.request("b-4", 114.06, took=0.05, instance="api-3")
    run.request("b-5", 114.0, took=0.05, instance="api-4")


def test_a_good_run_has_every_figure_and_no_other(run: MadeRun) -> None:
    figures = judged(run).figures
    assert list(figures) == list(NAMES)
    assert figures["confirmed"] == figures["injections"]


def leave(run: MadeRun) -> None:
    """A read and a write, by the client's own choice."""
    for id in ("a-50", "a-51"):
        change(run.clients, id, status=0, error="gave_up", instance="")


def test_what_its_client_left_is_no_failure(run: MadeRun) -> None:
    leave(run)
    verdict = judged(run, causes=[])
    assert broken(verdict) == {}
    assert (verdict.figures["failed"], verdict.figures["indeterminate"]) == (0, 0)
    with accounted(run) as rows:
        left = rows.sql("SELECT DISTINCT outcome, cause FROM requests WHERE outcome <> 'answered'")
        assert left.fetchall() == [("indeterminate", "client_left")]


def nothing(_run: MadeRun) -> None: ...


# A bound, what makes its figure, the figure, what is just below it, other bounds that this needs
# to be wider, and the requests that are beyond the smaller bound.
CASES: list[tuple[str, Callable[[MadeRun], None], Any, Any, dict[str, Any], list[str]]] = [
    ("failed_retryable", fail_retryable, 2, 1, {}, ["a-50", "a-52"]),
    ("failed_non_retryable", fail_non_retryable, 2, 1, {}, ["once-0", "once-1"]),
    ("indeterminate", leave_unknown, 2, 1, {}, ["a-51", "a-53"]),
    ("not_sent", leave_unsent, 2, 1, {}, ["b-0", "b-1"]),
    ("retried", move_on, 2, 1, {}, ["b-0", "a-40"]),
    ("delayed", delay, 2, 1, {}, ["b-0", "b-1"]),
    ("p99_baseline_ms", slow_down(106.0), 20, 19.999, {}, ["b-0"]),
    ("p99_faults_ms", slow_down(110.0), 20, 19.999, {}, ["b-0"]),
    ("max_faults_ms", slow_down(110.0), 20, 19.999, {}, ["b-0"]),
    ("p999_faults_ms", slow_down(110.0), 20, 19.999, {}, ["b-0"]),
    ("p99_recovery_ms", slow_down(114.0), 20, 19.999, {}, ["b-0"]),
    ("p99_ratio", slow_down(114.0), 2, 1.99, {}, []),
    ("p99_faults_ratio", slow_down(110.0), 2, 1.99, {}, []),
    ("recovery_s", die_longer, 1.5, 1.499, {}, []),
    ("settle_s", fail_late, 5.0, 4.999, {"failed_retryable": 1}, []),
    ("goodput_s", never_settle, 2.0, 1.999, {"failed_retryable": 1}, []),
    ("deaths", die_longer, 2, 1, {}, []),
    ("deaths_per_request", die_with_it, 2, 1, {}, []),
    ("hang_kills", kill_hung, 2, 1, {}, []),
    ("retries_per_request", try_again, 0.0769, 0.0768, {}, []),
    ("max_in_flight", crowd, 4, 3, {}, []),
]


@pytest.mark.parametrize(("name", "make", "figure", "below", "wider", "beyond"), CASES)
def test_a_bound_that_is_reached_is_kept_and_beyond_it_fails(
    run: MadeRun, name: str, make: Any, figure: Any, below: Any, wider: Any, beyond: list[str]
) -> None:
    make(run)
    with accounted(run) as rows:
        kept = judge_small(rows, **wider, **{name: figure})
        over = judge_small(rows, **wider, **{name: below})
    assert broken(kept) == {}
    assert kept.figures[name] == figure
    assert broken(over) == {name: "FAIL"}
    found = check(over, name)
    assert found.examples == tuple(beyond)
    assert found.count == (len(beyond) or 1)
    assert f"at most {below}" in found.message


LOWER_CASES: list[tuple[str, Callable[[MadeRun], None], int, dict[str, Any]]] = [
    ("retried_min", nothing, 1, {}),
    ("failed_non_retryable_min", fail_non_retryable, 2, {"failed_non_retryable": 2}),
    ("queued_min", wait_in_hold, 2, {}),
    ("hang_kills_min", kill_hung, 2, {}),
]


def touched(run: MadeRun) -> None:
    change_end(run, "a-50", fault="slow")
    change_end(run, "a-52", fault="slow")


def replayed(run: MadeRun) -> None:
    change_end(run, "a-51", effect="replayed")


def change_end(run: MadeRun, id: str, **changes: Any) -> None:
    ends = [row for row in run.services if row.id == id and row.kind == "end"]
    run.services.remove(ends[0])
    begun = next(row for row in run.services if row.id == id)
    run.end(begun, **{"t": ends[0].t, "status": ends[0].status} | changes)


LOWER_CASES += [("injected_min", touched, 2, {}), ("replays_min", replayed, 1, {})]


@pytest.mark.parametrize(("name", "make", "figure", "wider"), LOWER_CASES)
def test_a_run_that_does_not_show_what_it_should_is_invalid(
    run: MadeRun, name: str, make: Any, figure: int, wider: dict[str, Any]
) -> None:
    make(run)
    with accounted(run) as rows:
        shown = judge_small(rows, **wider, **{name: figure})
        less = judge_small(rows, **wider, **{name: figure + 1})
    assert broken(shown) == {}
    assert broken(less) == {name: "INVALID"}
    assert f"at least {figure + 1} is needed" in check(less, name).message


def test_every_bound_is_tried_above() -> None:
    tried = [one[0] for one in CASES] + [one[0] for one in LOWER_CASES]
    assert set(tried) == set(UPPER) | set(LOWER)
    elsewhere = {"causes", "errors", "share", "min_requests", "late_p99_ms", "late_baseline_ms"}
    assert set(tried) | elsewhere == set(Expect.model_fields)


def test_a_drill_that_says_nothing_allows_no_failure(run: MadeRun) -> None:
    for make in (fail_retryable, fail_non_retryable, leave_unknown, leave_unsent):
        make(run)
    wanted = ("failed_retryable", "failed_non_retryable", "indeterminate", "not_sent")
    assert broken(judged(run)) == dict.fromkeys(wanted, "FAIL")


def test_latencies_prove_nothing_when_the_generator_was_late(run: MadeRun) -> None:
    for number, by in ((30, 0.1), (50, 0.2), (70, 0.2)):  # one in each phase
        sent = next(one.sent for one in run.clients if one.id == f"a-{number}")
        change(run.clients, f"a-{number}", planned=sent - by)
    change(run.clients, "a-52", **GAVE_UP, done=KILL + 5.03)
    without(run.proxies, "a-52")
    die_longer(run)
    latencies: dict[str, Any] = {
        "p99_baseline_ms": 20, "p99_faults_ms": 20, "max_faults_ms": 20, "p99_recovery_ms": 20,
        "p99_ratio": 1.5, "p99_faults_ratio": 1.5, "delayed": 0,
    }  # fmt: skip
    others: dict[str, Any] = {"failed_retryable": 0, "settle_s": 4, "recovery_s": 1}
    with accounted(run) as rows:
        bounds = latencies | others | {"late_baseline_ms": 100}
        kept = judge_small(rows, late_p99_ms=200, **bounds)
        late = judge_small(rows, late_p99_ms=199.9, **bounds)
    assert broken(kept) == dict.fromkeys(latencies | others, "FAIL")
    invalid = dict.fromkeys(("schedule_kept", *latencies), "INVALID")
    assert broken(late) == invalid | dict.fromkeys(others, "FAIL")
    message = check(late, "p99_faults_ms").message
    assert "at most 20 is promised, but it counts from the planned time" in message


def test_a_figure_that_the_run_cannot_give_is_invalid(run: MadeRun) -> None:
    run.events[:] = [
        one
        for one in run.events
        if not one.fault and one.detail != "dead" and one.target != "faults"
    ]
    unknown = ("recovery_s", "settle_s", "p99_faults_ms", "max_faults_ms")
    verdict = judged(run, planned=0, **dict.fromkeys(unknown, 1000))
    assert [verdict.figures[name] for name in unknown] == [None] * len(unknown)
    assert broken(verdict) == dict.fromkeys(unknown, "INVALID")


def test_an_instance_that_stays_dead_took_at_least_until_the_end(run: MadeRun) -> None:
    run.state("web-2", 110.0, "dead")
    run.state("web-2", 111.0, "stopped")
    verdict = judged(run, recovery_s=6.999)
    assert verdict.figures["recovery_s"] == 7
    assert broken(verdict) == {"all_back": "FAIL", "recovery_s": "FAIL"}


def test_what_failed_before_the_faults_were_over_does_not_count_to_settling(run: MadeRun) -> None:
    change(run.clients, "a-37", **GAVE_UP, done=KILL + 0.02)
    verdict = judged(run, failed_retryable=1, settle_s=0)
    assert verdict.figures["settle_s"] == 0
    assert verdict.verdict == "PASS"


# causes


def test_other_causes_than_the_allowed_ones_fail(run: MadeRun) -> None:
    fail_retryable(run)
    fail_non_retryable(run)
    with accounted(run) as rows:
        allowed = {"failed_retryable": 2, "failed_non_retryable": 2}
        both = judge_small(rows, **allowed, causes=["client_timeout", "reset_not_retried"])
        one = judge_small(rows, **allowed, causes=["client_timeout"])
        none = judge_small(rows, **allowed, causes=[])
        unheard = judge_small(rows, **allowed, causes=["client_timeout", "reset_onec"])
    assert broken(both) == {}
    assert broken(one) == broken(none) == {"causes": "FAIL"}
    assert check(one, "causes").examples == ("once-0", "once-1")
    assert check(none, "causes").count == 4
    assert broken(unheard) == {"causes": "INVALID"}
    assert "reset_onec" in check(unheard, "causes").message


# errors


def test_the_errors_of_the_client_are_bounded_by_class(run: MadeRun) -> None:
    fail_retryable(run)
    with accounted(run) as rows:
        allowed = {"failed_retryable": 2}
        kept = judge_small(rows, **allowed, errors={"timeout": 2, "refused": 0})
        over = judge_small(rows, **allowed, errors={"timeout": 1, "refused": 0})
    assert broken(kept) == {}
    assert broken(over) == {"errors timeout": "FAIL"}
    assert check(over, "errors timeout").examples == ("a-50", "a-52")
    with pytest.raises(ValueError, match="errors"):
        Expect.model_validate({"errors": {"tired": 1}})


# watchdog


def test_without_a_watchdog_nobody_knows_of_hangs(run: MadeRun) -> None:
    run.watched = False
    with accounted(run) as rows:
        verdict = judge_small(rows, hang_kills=0, hang_kills_min=1)
    assert verdict.figures["hang_kills"] is None
    assert broken(verdict) == dict.fromkeys(("hang_kills", "hang_kills_min"), "INVALID")


# share


def test_the_share_of_an_instance_is_of_the_answers_of_its_service(run: MadeRun) -> None:
    """25 answers of the api instances during the faults, of which api-2 made 9."""
    run.request("b-0", 110.05, instance="web-1")
    with accounted(run) as rows:
        assert broken(judge_small(rows, share={"api-2": [0.36, 0.36], "web-1": [1, 1]})) == {}
        low = judge_small(rows, share={"api-2": [0.37, 1], "web-2": [0, 0]})
        high = judge_small(rows, share={"api-2": [0, 0.35]})
        unheard = judge_small(rows, share={"api-9": [0, 0], "echo-1": [0, 1]})
    assert broken(low) == broken(high) == {"share api-2": "FAIL"}
    assert broken(unheard) == {"share api-9": "INVALID", "share echo-1": "INVALID"}
    assert check(unheard, "share api-9").message == "there is no instance api-9"


def test_a_service_that_answered_nothing_has_no_shares(run: MadeRun) -> None:
    verdict = judged(run, share={"web-1": [0, 1]})
    assert broken(verdict) == {"share web-1": "INVALID"}
    assert "the run cannot tell" in check(verdict, "share web-1").message


# quantiles


@pytest.mark.parametrize("count", [1, 2, 3, 99, 100, 101, 700, 1000, 1001, 20_000])
def test_quantiles_are_those_of_the_other_reports(count: int) -> None:
    """DuckDB's quantile_disc is the nearest rank, as `bulkhead load` counts it."""
    found = duckdb.execute(
        "SELECT quantile_disc(value, 0.5), quantile_disc(value, 0.99)"
        f" FROM range(1, {count + 1}) AS rows(value)"
    ).fetchall()
    ordered = range(1, count + 1)
    assert found == [(nearest_rank(ordered, 500), nearest_rank(ordered, 990))]
