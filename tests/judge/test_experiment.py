"""Faults and a load that were not what the drill asked for: INVALID."""

from typing import Any

import msgspec
import pytest

from tests.judge.made import KILL, accounted, broken, change, check, judge_small, judged
from tests.judge.test_evidence import assert_invalid
from tests.support.runs import MadeRun

# faults_confirmed


def test_a_drill_without_faults_needs_none(run: MadeRun) -> None:
    run.events[:] = [one for one in run.events if not one.fault]
    assert judged(run, planned=0).verdict == "PASS"


def test_a_fault_that_was_planned_and_never_happened(run: MadeRun) -> None:
    assert_invalid(
        judged(run, planned=2), "faults_confirmed", says="1 injections, though 2 were planned"
    )


def test_a_fault_that_nobody_planned(run: MadeRun) -> None:
    assert_invalid(
        judged(run, planned=0), "faults_confirmed", says="1 injections, though 0 were planned"
    )


def test_a_fault_that_did_not_take_hold(run: MadeRun) -> None:
    run.injection(
        2, "hang", "api-2", 109, confirmed=None, heal=None, healed=None, failed="still answers"
    )
    assert_invalid(
        judged(run, planned=2), "faults_confirmed", says="hang on api-2, injection 2: still answers"
    )


def test_a_fault_of_which_nothing_more_is_known(run: MadeRun) -> None:
    run.injection(2, "hang", "api-2", 109, confirmed=None, heal=None, healed=None)
    assert_invalid(
        judged(run, planned=2), "faults_confirmed", says="injection 2: was not confirmed"
    )


def test_half_of_the_injections_may_find_nothing_to_be_done_to(run: MadeRun) -> None:
    run.injection(2, "kill", "any api", 109, skipped="nothing was alive")
    assert judged(run, planned=2).verdict == "PASS"
    run.injection(3, "kill", "any api", 110, skipped="nothing was alive")
    assert_invalid(
        judged(run, planned=3),
        "faults_confirmed",
        says="2 of 3 injections found nothing to be done to",
    )


def test_a_run_in_which_every_injection_was_skipped(run: MadeRun) -> None:
    run.events[:] = [one for one in run.events if not one.fault]
    run.injection(1, "kill", "any api", KILL, skipped="nothing was alive")
    verdict = judged(run)
    assert_invalid(verdict, "faults_confirmed", says="not one injection was confirmed", count=2)


# faults_healed


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ({"healed": None, "failed": "still slow"}, "still slow"),
        ({"healed": None}, "was not undone"),
        ({"heal": None, "healed": None}, "was not undone"),
    ],
)
def test_a_fault_that_was_not_undone(run: MadeRun, ends: dict[str, Any], says: str) -> None:
    run.injection(2, "slow", "api-2", 109, **ends)
    assert_invalid(
        judged(run, planned=2), "faults_healed", says=f"slow on api-2, injection 2: {says}"
    )


def test_a_fault_that_was_still_in_force_in_the_recovery(run: MadeRun) -> None:
    run.injection(2, "slow", "api-2", 109, heal=2.9, healed=3)
    assert judged(run, planned=2).verdict == "PASS"
    run.injection(3, "slow", "api-3", 109, heal=2.9, healed=3.001)
    says = "slow on api-3, injection 3: was still in force when the recovery began"
    assert_invalid(judged(run, planned=3), "faults_healed", says=says)


# load_sufficient


def test_a_run_that_is_too_small_to_mean_anything(run: MadeRun) -> None:
    with accounted(run) as rows:
        enough = judge_small(rows, min_requests=85)
        less = judge_small(rows, min_requests=86)
    assert enough.verdict == "PASS"
    assert_invalid(less, "load_sufficient", says="85 requests, and at least 86")


def moved(run: MadeRun, phase: str, to: float) -> None:
    """Let a phase begin at another time."""
    at = next(n for n, one in enumerate(run.events) if (one.kind, one.target) == ("phase", phase))
    run.events[at] = msgspec.structs.replace(run.events[at], t=to)


def test_a_phase_that_is_too_small_to_mean_anything(run: MadeRun) -> None:
    moved(run, "baseline", 105.0)  # ten requests from here on, a fifth of the least
    assert judged(run).verdict == "PASS"
    moved(run, "baseline", 105.2)
    says = "9 requests in the phase baseline, and at least 10 are needed"
    assert_invalid(judged(run), "load_sufficient", says=says)


def test_faults_that_met_too_little_load(run: MadeRun) -> None:
    moved(run, "recovery", 108.8)  # nine requests during the faults
    says = "9 requests in the phase faults, and at least 10 are needed"
    assert_invalid(judged(run), "load_sufficient", says=says)


def test_a_target_that_got_no_load_before_its_fault(run: MadeRun) -> None:
    run.injection(2, "kill", "api-1 web-2", 109)
    says = "0 tries at web-2 in the baseline, and at least 1 are needed"
    assert_invalid(judged(run, planned=2), "load_sufficient", says=says)


def test_a_target_may_get_its_load_by_sub_requests(run: MadeRun) -> None:
    run.injection(2, "kill", "api-1 web-2", 109)
    run.proxy("a-30.1", ended=run.proxies[30].ended, addrs="127.0.0.1:8202", instance="web-2")
    assert judged(run, planned=2).verdict == "PASS"


def test_the_proxy_as_a_target_has_no_load_of_its_own(run: MadeRun) -> None:
    run.injection(2, "nginx_reload", "proxy", 109)
    run.injection(3, "kill", "any web", 109, skipped="nothing was alive")
    assert judged(run, planned=3).verdict == "PASS"


# schedule_kept


def late(run: MadeRun, number: int, by: float) -> None:
    row = next(one for one in run.clients if one.id == f"a-{number}")
    change(run.clients, row.id, planned=row.planned - by)


def test_a_generator_that_fell_behind_in_the_baseline(run: MadeRun) -> None:
    late(run, 30, by=0.050)
    assert judged(run).verdict == "PASS"
    late(run, 30, by=0.001)
    with accounted(run) as rows:
        default = judge_small(rows)
        wider = judge_small(rows, late_baseline_ms=51)
    says = "p99 51.0 ms late in the baseline, and at most 50 ms are allowed"
    assert_invalid(default, "schedule_kept", says=says)
    assert wider.verdict == "PASS"


def test_a_generator_that_fell_behind_later(run: MadeRun) -> None:
    late(run, 50, by=0.1)
    with accounted(run) as rows:
        kept = judge_small(rows, late_p99_ms=100)
        less = judge_small(rows, late_p99_ms=99.9)
    assert kept.verdict == "PASS"
    assert kept.figures["late_p99_ms"] == 100
    says = "p99 100.0 ms late after the warm-up, and at most 99.9 ms are allowed"
    assert_invalid(less, "schedule_kept", says=says)


def test_the_warm_up_may_be_late(run: MadeRun) -> None:
    late(run, 5, by=0.3)
    assert judged(run).verdict == "PASS"


def test_a_request_of_the_baseline_that_was_not_sent(run: MadeRun) -> None:
    unsent: dict[str, Any] = {"status": 0, "error": "unsent", "sent": 0.0, "instance": ""}
    run.client("b-1", **{"planned": 106.15, "done": 106.2} | unsent)
    says = "1 requests of the baseline were not sent"
    verdict = judged(run, not_sent=1)
    assert_invalid(verdict, "schedule_kept", says=says)
    assert check(verdict, "schedule_kept").examples == ("b-1",)


def test_a_request_of_the_faults_that_was_not_sent_is_for_the_bound(run: MadeRun) -> None:
    unsent: dict[str, Any] = {"status": 0, "error": "unsent", "sent": 0.0, "instance": ""}
    run.client("b-1", **{"planned": 108.15, "done": 108.2} | unsent)
    with accounted(run) as rows:
        assert judge_small(rows, not_sent=1).verdict == "PASS"
        assert judge_small(rows).verdict == "FAIL"


def test_a_request_that_the_end_of_the_load_cut_off(run: MadeRun) -> None:
    change(run.clients, "a-84", status=0, error="stopped", instance="")
    change(run.clients, "a-82", status=0, error="stopped", instance="")
    says = "2 requests were cut off by the end of the load"
    assert_invalid(judged(run, causes=[]), "schedule_kept", says=says)


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        (range(45, 75), "no request was planned for 6.2 s from 8.8 s on"),
        (range(64, 85), "no request was planned for 4.3 s from 12.6 s on"),
    ],
)
def test_a_gap_of_more_than_twenty_mean_ones(run: MadeRun, gone: range, says: str) -> None:
    """Of 55 requests in 16.8 s and of 64 in 12.6 s: more than 6.1 s, and more than 3.9 s."""
    forget(run, gone)
    assert_invalid(judged(run), "schedule_kept", says=says)


def test_a_gap_that_chance_leaves(run: MadeRun) -> None:
    forget(run, range(45, 74))  # 6.0 s, where twenty mean gaps are 6.0 s
    assert broken(judged(run)) == {}


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        (range(50, 55), "no request was planned for 1.2 s from 9.8 s on"),
        (range(79, 85), "no request was planned for 1.3 s from 15.6 s on"),
    ],
)
def test_a_gap_of_more_than_a_second_at_a_high_rate(run: MadeRun, gone: range, says: str) -> None:
    for number in range(300):
        run.request(f"b-{number}", 101 + number / 1000)  # in all, more than 20 a second
    forget(run, gone)
    assert_invalid(judged(run), "schedule_kept", says=says)


def forget(run: MadeRun, numbers: range) -> None:
    """Let it be as if these requests had never been planned."""
    gone = {f"a-{number}" for number in numbers}
    run.clients[:] = [row for row in run.clients if row.id not in gone]
    run.proxies[:] = [row for row in run.proxies if row.id not in gone]
    run.services[:] = [row for row in run.services if row.id not in gone]
    run.effects[:] = [row for row in run.effects if row.request_id not in gone]
    for id in gone:
        run.entries.pop(f"entry-{id}", None)
    run.entry("shared", max(row.version for row in run.effects if row.entry_id == "shared"))
