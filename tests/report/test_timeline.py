"""A run over time: every request in its bucket, every span where it was."""

from pathlib import Path

import pytest

from bulkhead.accounting.account import opened
from bulkhead.report.charts import FEW, area, heat, line, rare, stems, unanswered
from bulkhead.report.timeline import MOST_BUCKETS, Cell, Timeline, round_step, timeline
from tests.support.runs import Failed, MadeRun


@pytest.mark.parametrize(
    ("seconds", "width"),
    [(1, 0.1), (33, 0.1), (120, 0.1), (120.1, 0.2), (500, 0.5), (1200, 1.0), (86_400, 100.0)],
)
def test_buckets_are_100_ms_up_to_two_minutes_and_round_beyond(
    seconds: float, width: float
) -> None:
    assert round_step(seconds, MOST_BUCKETS) == width


def made_timeline(made: MadeRun) -> Timeline:
    with opened(made.write()) as account:
        return timeline(account)


def test_requests_are_offered_when_planned_and_end_when_done(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases(100.0, 101.0, 102.0, 103.0, 104.0)
    made.request("a-1", 101.05, took=0.5)
    made.request("a-2", 101.08, client={"status": 0, "error": "reset", "done": 101.35})
    made.client("a-3", planned=102.0, sent=0.0, done=102.2, status=0, error="unsent")
    lines = made_timeline(made)
    assert (lines.axis.began, lines.axis.width, lines.axis.buckets) == (100.0, 0.1, 40)
    assert counted(lines.offered) == {10: 2, 20: 1}
    assert counted(lines.ended["answered"]) == {15: 1}
    assert counted(lines.ended["failed"]) == {13: 1}
    assert counted(lines.ended["not_sent"]) == {22: 1}
    assert lines.latencies["max"][10] == pytest.approx(0.5)
    assert lines.latencies["p50"][11] is None


def test_latency_is_in_eight_rows_a_decade_and_clipped_at_both_ends(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases(100.0, 101.0, 102.0, 103.0, 104.0)
    made.request("a-1", 101.0, took=0.0001)
    made.request("a-2", 101.0, took=0.0101)
    made.request("a-3", 101.0, took=60.0)
    made.request("a-4", 101.0, client={"status": 0, "error": "timeout", "done": 102.001})
    lines = made_timeline(made)
    assert {(cell.bucket, cell.row): (cell.count, cell.not_answered) for cell in lines.cells} == {
        (10, 0): (1, 0), (10, 8): (1, 0), (10, 24): (1, 1), (10, 31): (1, 0)
    }  # fmt: skip


def test_a_lane_has_states_faults_work_and_lost_attempts(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases(100.0, 101.0, 102.0, 103.0, 104.0)
    made.state("api-1", 100.0, "up")
    made.state("api-1", 102.5, "dead")
    made.state("api-1", 102.75, "up")
    made.injection(1, "kill", "api-1", 102.5, healed=0.25)
    made.injection(2, "kill", "api-2", 103.0, skipped="it was dead already")
    slow = [Failed("api-1", "timeout", 0.5), Failed("api-2", "died", 0.1)]
    made.request("a-1", 102.0, instance="api-3", failed=slow)
    lines = made_timeline(made)
    lanes = {lane.instance: lane for lane in lines.lanes}
    assert list(lanes) == ["api-1", "api-2", "api-3"]
    assert [(s.name, round(s.began, 3), round(s.ended, 3)) for s in lanes["api-1"].states] == [
        ("up", 0.0, 2.5), ("dead", 2.5, 2.75), ("up", 2.75, 4.0)
    ]  # fmt: skip
    assert [(s.name, round(s.began, 3), round(s.ended, 3)) for s in lanes["api-1"].under] == [
        ("kill 1", 2.5, 2.75)
    ]
    assert counted(lanes["api-1"].lost) == {20: 1}
    assert counted(lanes["api-2"].lost) == {25: 1}, "the second attempt began when the first ended"
    assert counted(lanes["api-3"].begun) == {26: 1}
    assert lanes["api-2"].under == []
    assert [(one["n"], one["problem"]) for one in lines.injections] == [
        (1, ""),
        (2, "it was dead already"),
    ]


def test_what_the_watchdog_did_is_marked_in_the_lane_of_whom_it_was_done_to(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases(100.0, 101.0, 102.0, 103.0, 104.0)
    made.state("api-1", 100.0, "up")
    made.request("a-1", 102.0)
    made.watch(99.0, "watching", "watch", "pid 7")  # before the run
    made.watch(102.5, "hang", "api-1", "pid 8: stopped")
    made.watch(102.6, "exit", "api-1", "pid 8")
    made.watch(102.7, "ready", "api-1", "pid 9")
    made.watch(102.8, "supervisord", "supervisord", "pid 10")
    lines = made_timeline(made)
    assert [(mark["kind"], mark["target"], round(mark["at"], 3)) for mark in lines.watch] == [
        ("hang", "api-1", 2.5), ("ready", "api-1", 2.7), ("supervisord", "supervisord", 2.8)
    ]  # fmt: skip
    (lane,) = lines.lanes
    assert [mark["words"] for mark in lane.marks] == [
        "watchdog: hang api-1 at 2.500 s: pid 8: stopped",
        "watchdog: ready api-1 at 2.700 s: pid 9",
    ]


def test_a_fault_that_was_never_undone_lasts_to_the_end(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases(100.0, 101.0, 102.0, 103.0, 104.0)
    made.injection(1, "hang", "api-1", 102.0, heal=None, healed=None)
    made.injection(2, "busy", "api-1", 102.5, healed=None, failed="it is busy still")
    made.injection(
        3, "slow", "api-1", 103.0, confirmed=None, heal=None, healed=None, failed="no socket"
    )
    made.request("a-1", 102.0)
    lines = made_timeline(made)
    assert [
        (one["n"], one["began"], one["ended"], one["in_force"]) for one in lines.injections
    ] == [
        (1, 2.0, 4.0, True), (2, 2.5, 4.0, True), (3, 3.0, 3.0, False)
    ]  # fmt: skip
    (lane,) = lines.lanes
    assert [span.name for span in lane.under] == ["hang 1", "busy 2"]


def test_a_request_that_outlives_the_run_makes_the_axis_longer(tmp_path: Path) -> None:
    made = MadeRun(tmp_path)
    made.phases(100.0, 101.0, 102.0, 103.0, 104.0)
    made.client("a-1", planned=103.9, done=110.0, status=0, error="timeout")
    lines = made_timeline(made)
    assert lines.axis.seconds == pytest.approx(10.0)
    assert counted(lines.ended["failed"]) == {99: 1}


def test_paths_say_each_change_once() -> None:
    assert area([0, 2, 2, 0], 5) == "M0 5V5H1V3H3V5H4V5Z"
    assert area([0, 0], 5) == ""
    assert line([1, 1, 4], 5) == "M0 4V4H2V1H3"
    assert stems([0, 2], 5, [0, 1]) == "M1.5 4v-2"


def test_equal_neighbours_of_the_heat_map_are_one_rectangle() -> None:
    cells = [Cell(3, 0, 1, 0), Cell(4, 0, 1, 0), Cell(6, 0, 1, 0), Cell(6, 31, 100, 2)]
    levels = heat(cells)
    assert levels[0] == "M3 31h2v1h-2zM6 31h1v1h-1z"
    assert levels[5] == "M6 0h1v1h-1z"
    assert heat([]) == [""] * 6


def test_what_was_not_answered_and_what_is_rare_is_a_point() -> None:
    cells = [Cell(3, 0, FEW, 0), Cell(4, 0, 1, 0), Cell(6, 31, FEW, 2)]
    assert unanswered(cells) == "M6.5 0.5h0"
    assert rare(cells) == "M6.5 0.5h0", "the lowest row has one request too many to be rare"


def counted(buckets: list[int]) -> dict[int, int]:
    """Only those that are not empty."""
    return {bucket: count for bucket, count in enumerate(buckets) if count}
