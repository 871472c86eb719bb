"""What counts as hung, and as a crash loop: without any process."""

import pytest

from bulkhead.watchdog.liveness import GONE, STOPPED_S, Liveness, Sample, StopClock
from bulkhead.watchdog.processes import Program
from bulkhead.watchdog.state import Spec

HANG_S = 0.5


def sleeping(waited: float = 0.0, ran: float = 1.0) -> Sample:
    return Sample("S", ran, waited)


def test_a_process_that_sends_heartbeats_does_not_hang() -> None:
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    liveness.heartbeat(10.4, 0.0)
    assert liveness.judge(10.8, sleeping(), HANG_S) == ""


def test_silence_is_a_hang() -> None:
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    assert liveness.judge(10.5, sleeping(), HANG_S) == ""
    assert liveness.judge(10.51, sleeping(), HANG_S) == "no turn for 0.51 s"


def test_time_in_which_it_waited_for_a_processor_does_not_count() -> None:
    liveness = Liveness(last_heartbeat=10.0, queued_before=7.0)
    assert liveness.judge(12.0, sleeping(waited=8.6), HANG_S) == ""
    assert liveness.judge(12.2, sleeping(waited=8.6), HANG_S) == "no turn for 0.60 s"


def test_a_process_that_computes_hangs_also_on_a_busy_machine() -> None:
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    samples = [
        liveness.judge(10.0 + i / 10, Sample("R", 0.05 * i, 0.05 * i), HANG_S) for i in range(12)
    ]
    assert samples[:11] == [""] * 11
    assert samples[11] == "no turn for 0.55 s"


def test_a_process_that_waits_for_a_processor_is_not_judged() -> None:
    """The kernel adds a wait to the counter when it is over."""
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    assert liveness.judge(10.1, Sample("R", 1.0, 0.0), HANG_S) == ""
    assert liveness.judge(10.9, Sample("R", 1.0, 0.0), HANG_S) == ""  # has not run since
    assert liveness.judge(11.0, Sample("R", 1.01, 0.85), HANG_S) == ""  # has: 0.85 s were waited
    assert liveness.judge(11.4, Sample("R", 1.41, 0.85), HANG_S) == "no turn for 0.55 s"


def test_a_wait_that_lasts_does_not_count_though_it_has_just_run() -> None:
    """A loop that turns each 0.1 s, needs 0.1 s of a processor, and gets a tenth of one."""
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    liveness.judge(10.1, sleeping(ran=1.0), 0.22)  # until its timer; from now on it computes
    for sample in range(1, 20):
        # It is seen when it has waited for 45 ms, of which the kernel has counted none yet.
        waited = 0.045 * (sample - 1)
        now, ran = 10.1 + 0.05 * sample, 1.0 + 0.005 * sample
        assert liveness.judge(now, Sample("R", ran, waited), 0.22) == ""


def test_the_lateness_of_the_watchdog_itself_is_forgiven() -> None:
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    liveness.forgiven += 3.0
    assert liveness.judge(13.4, sleeping(), HANG_S) == ""
    liveness.heartbeat(13.4, 0.0)
    assert liveness.judge(14.0, sleeping(), HANG_S) == "no turn for 0.60 s"


def test_a_turn_before_the_watchdog_was_late_does_not_take_its_forgiveness_back() -> None:
    """The whole machine stood for 10 s; the page tells of a turn just before that."""
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    liveness.forgive(10.0)
    liveness.heartbeat(20.3, 0.0, age_s=10.1)
    assert liveness.judge(20.3, sleeping(), HANG_S) == ""
    assert liveness.judge(20.8, sleeping(), HANG_S) == "no turn for 0.60 s"


def test_a_stop_that_the_watchdog_did_not_see_through_begins_anew() -> None:
    """All processes of a host were stopped for 4 s, and the watchdog goes on before the others."""
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    assert liveness.judge(10.1, Sample("T", 1.0, 0.0), HANG_S) == ""
    liveness.forgive(4.0)
    assert liveness.judge(14.15, Sample("T", 1.0, 0.0), HANG_S) == ""
    assert liveness.judge(14.35, Sample("T", 1.0, 0.0), HANG_S) == "stopped for 0.25 s"


def test_a_stopped_process_hangs_sooner() -> None:
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    stopped = Sample("T", 1.0, 0.0)
    assert liveness.judge(10.1, stopped, HANG_S) == ""
    assert liveness.judge(10.1 + STOPPED_S, stopped, HANG_S) == ""
    assert liveness.judge(10.35, stopped, HANG_S) == "stopped for 0.25 s"


def test_a_process_that_is_continued_in_time_lives() -> None:
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    stopped = Sample("T", 1.0, 0.0)
    assert liveness.judge(10.1, stopped, HANG_S) == ""
    assert liveness.judge(10.2, sleeping(), HANG_S) == ""
    assert liveness.judge(10.25, stopped, HANG_S) == ""
    assert liveness.judge(10.44, stopped, HANG_S) == ""


def test_a_process_held_by_a_debugger_lives_and_begins_anew() -> None:
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    assert liveness.judge(60.0, Sample("t", 1.0, 0.0), HANG_S) == ""
    assert liveness.judge(60.4, sleeping(), HANG_S) == ""
    assert liveness.judge(60.6, sleeping(), HANG_S) == "no turn for 0.60 s"


def test_time_in_which_it_waited_for_a_disk_does_not_count() -> None:
    """To kill it would not help: it could not even die before the disk has answered."""
    liveness = Liveness(last_heartbeat=10.0, queued_before=0.0)
    for tenth in range(1, 30):
        assert liveness.judge(10.0 + tenth / 10, Sample("D", 1.0, 0.0), HANG_S) == ""
    assert liveness.judge(13.3, sleeping(), HANG_S) == ""
    assert liveness.judge(13.5, sleeping(), HANG_S) == "no turn for 0.60 s"


@pytest.mark.parametrize("state", [GONE, "Z", "X"])
def test_a_process_that_has_ended_does_not_hang(state: str) -> None:
    """Its counters are gone: what it had waited in its life would count as silence."""
    liveness = Liveness(last_heartbeat=10.0, queued_before=7.0)
    assert liveness.judge(10.1, Sample(state, 0.0, 0.0), HANG_S) == ""


def test_a_process_without_heartbeats_hangs_only_when_it_is_stopped() -> None:
    clock = StopClock()
    assert clock.observe(10.0, "T") == ""
    assert clock.observe(10.15, "T") == ""
    assert clock.observe(10.25, "T") == "stopped for 0.25 s"
    assert clock.observe(10.25, "S") == ""
    assert clock.observe(10.35, "T") == ""


def test_only_deaths_before_being_ready_count_and_only_in_a_row() -> None:
    program = Program(Spec("api-1", "tornado", "api", "", 1, 0.5, 5), since=0.0)
    crashing = []
    for program.was_ready in (True, False, False, True, False):
        program.count_death()
        crashing.append((program.failures, program.crashing))
    assert crashing == [(0, False), (1, False), (2, True), (0, False), (1, False)]
