"""What counts as hung, and when what died is started again: without any process."""

import pytest

from bulkhead.watch.crashes import LONGEST_S, failures_after, pause_s
from bulkhead.watch.heart import STOPPED_S, Heart, Stops
from bulkhead.watch.kernel import GONE, Look

HANG_S = 0.5


def sleeping(waited: float = 0.0, ran: float = 1.0) -> Look:
    return Look("S", ran, waited)


def test_a_process_that_beats_does_not_hang() -> None:
    heart = Heart(heard=10.0, waited=0.0)
    heart.beat(10.4, 0.0)
    assert heart.why_hung(10.8, sleeping(), HANG_S) == ""


def test_silence_is_a_hang() -> None:
    heart = Heart(heard=10.0, waited=0.0)
    assert heart.why_hung(10.5, sleeping(), HANG_S) == ""
    assert heart.why_hung(10.51, sleeping(), HANG_S) == "no turn for 0.51 s"


def test_time_in_which_it_waited_for_a_processor_does_not_count() -> None:
    heart = Heart(heard=10.0, waited=7.0)
    assert heart.why_hung(12.0, sleeping(waited=8.6), HANG_S) == ""
    assert heart.why_hung(12.2, sleeping(waited=8.6), HANG_S) == "no turn for 0.60 s"


def test_who_computes_without_a_turn_hangs_also_on_a_busy_machine() -> None:
    heart = Heart(heard=10.0, waited=0.0)
    looks = [
        heart.why_hung(10.0 + i / 10, Look("R", 0.05 * i, 0.05 * i), HANG_S) for i in range(12)
    ]
    assert looks[:11] == [""] * 11
    assert looks[11] == "no turn for 0.55 s"


def test_who_waits_for_a_processor_at_this_moment_is_not_judged() -> None:
    """The kernel adds a wait to the counter when it is over."""
    heart = Heart(heard=10.0, waited=0.0)
    assert heart.why_hung(10.1, Look("R", 1.0, 0.0), HANG_S) == ""
    assert heart.why_hung(10.9, Look("R", 1.0, 0.0), HANG_S) == ""  # has not run since
    assert heart.why_hung(11.0, Look("R", 1.01, 0.85), HANG_S) == ""  # has: 0.85 s were waited
    assert heart.why_hung(11.4, Look("R", 1.4, 0.85), HANG_S) == "no turn for 0.55 s"


def test_the_lateness_of_the_watchdog_itself_is_forgiven() -> None:
    heart = Heart(heard=10.0, waited=0.0)
    heart.forgiven += 3.0
    assert heart.why_hung(13.4, sleeping(), HANG_S) == ""
    heart.beat(13.4, 0.0)
    assert heart.why_hung(14.0, sleeping(), HANG_S) == "no turn for 0.60 s"


def test_a_stopped_process_hangs_sooner() -> None:
    heart = Heart(heard=10.0, waited=0.0)
    stopped = Look("T", 1.0, 0.0)
    assert heart.why_hung(10.1, stopped, HANG_S) == ""
    assert heart.why_hung(10.1 + STOPPED_S, stopped, HANG_S) == ""
    assert heart.why_hung(10.35, stopped, HANG_S) == "stopped for 0.25 s"


def test_who_is_continued_in_time_lives() -> None:
    heart = Heart(heard=10.0, waited=0.0)
    stopped = Look("T", 1.0, 0.0)
    assert heart.why_hung(10.1, stopped, HANG_S) == ""
    assert heart.why_hung(10.2, sleeping(), HANG_S) == ""
    assert heart.why_hung(10.25, stopped, HANG_S) == ""
    assert heart.why_hung(10.44, stopped, HANG_S) == ""


def test_who_is_held_by_a_debugger_lives_and_begins_anew() -> None:
    heart = Heart(heard=10.0, waited=0.0)
    assert heart.why_hung(60.0, Look("t", 1.0, 0.0), HANG_S) == ""
    assert heart.why_hung(60.4, sleeping(), HANG_S) == ""
    assert heart.why_hung(60.6, sleeping(), HANG_S) == "no turn for 0.60 s"


def test_time_in_which_it_waited_for_a_disk_does_not_count() -> None:
    """To kill it would not help: it could not even die before the disk has answered."""
    heart = Heart(heard=10.0, waited=0.0)
    for tenth in range(1, 30):
        assert heart.why_hung(10.0 + tenth / 10, Look("D", 1.0, 0.0), HANG_S) == ""
    assert heart.why_hung(13.3, sleeping(), HANG_S) == ""
    assert heart.why_hung(13.5, sleeping(), HANG_S) == "no turn for 0.60 s"


@pytest.mark.parametrize("state", [GONE, "Z", "X"])
def test_who_has_ended_does_not_hang(state: str) -> None:
    """Its counters are gone: what it had waited in its life would count as silence."""
    heart = Heart(heard=10.0, waited=7.0)
    assert heart.why_hung(10.1, Look(state, 0.0, 0.0), HANG_S) == ""


def test_a_process_that_does_not_beat_hangs_only_when_it_is_stopped() -> None:
    stops = Stops({})
    assert stops.why_hung(10.0, 7, "T") == ""
    assert stops.why_hung(10.1, 8, "T") == ""
    assert stops.why_hung(10.15, 7, "T") == ""
    assert stops.why_hung(10.25, 7, "T") == "stopped for 0.25 s"
    assert stops.why_hung(10.25, 8, "S") == ""
    assert stops.why_hung(10.35, 8, "T") == ""


@pytest.mark.parametrize(
    ("failures", "pause"), [(0, 0.0), (1, 0.0), (2, 1.0), (3, 2.0), (6, 5.0), (7, LONGEST_S)]
)
def test_pauses_grow_from_the_second_failure_on_and_end_growing(
    failures: int, pause: float
) -> None:
    assert pause_s(failures) == pause


def test_only_deaths_before_being_ready_count_and_only_in_a_row() -> None:
    failures = 0
    for was_ready in (False, False):
        failures = failures_after(failures, was_ready)
    assert failures == 2
    assert failures_after(failures, was_ready=True) == 0
