"""When each injection begins, and that chance is the seed's alone."""

import pytest

from bulkhead.drill.inject import plan, rates
from bulkhead.drill.spec import FaultSection, LoadSection, PhasesSection


def fault(**fields: object) -> FaultSection:
    return FaultSection.model_validate({"fault": "noop", "target": "any api"} | fields)


def test_a_schedule_is_in_the_order_of_its_times() -> None:
    planned = plan([fault(at_s=1.0, every_s=2.0, times=3), fault(at_s=2.0)], seed=1)
    assert [one.at_s for one in planned] == [1.0, 2.0, 3.0, 5.0]
    assert [one.n for one in planned] == [1, 2, 3, 4]
    assert planned[1].fault.times == 1


def test_random_moments_are_the_seeds_and_lie_within_their_span() -> None:
    def moments(seed: int) -> list[float]:
        lines = [fault(at_s=10.0, every_s=0.5, times=200, random=True), fault(at_s=3.0)]
        return [one.at_s for one in plan(lines, seed)]

    first = moments(1)
    assert first == moments(1) != moments(2)
    assert first == sorted(first)
    assert first[0] == 3.0
    assert first[1] >= 10.0
    assert first[-1] <= 110.0
    assert sum(moment < 60 for moment in first[1:]) == pytest.approx(100, abs=30)


def test_two_random_lines_have_chances_of_their_own() -> None:
    line = fault(every_s=1.0, times=5, random=True)
    moments = {one.at_s for one in plan([line, line], seed=1)}
    assert len(moments) == 10


def test_a_phase_may_have_a_rate_of_its_own() -> None:
    phases = PhasesSection(warmup_s=2, baseline_s=5, faults_s=20, recovery_s=10)
    assert rates(LoadSection(rate=300), phases) == [(0, 300)]
    up = LoadSection(rate=300, rates={"faults": 1800})
    assert rates(up, phases) == [(0, 300), (7, 1800), (27, 300)]
    late = LoadSection(rate=300, rates={"recovery": 50, "warmup": 10})
    assert rates(late, phases) == [(0, 10), (2, 300), (27, 50)]


def test_a_phase_without_length_has_no_rate() -> None:
    phases = PhasesSection(warmup_s=0, baseline_s=5, faults_s=0, recovery_s=10)
    asked = LoadSection(rate=300, rates={"warmup": 10, "faults": 1800})
    assert rates(asked, phases) == [(0, 300)]


def test_no_faults_is_an_empty_schedule() -> None:
    assert plan([], seed=1) == []


def test_the_same_seed_chooses_alike_and_another_does_not() -> None:
    def picks(seed: int) -> list[float]:
        return [one.chance.random() for one in plan([fault(times=20)], seed)]

    assert picks(1) == picks(1)
    assert picks(1) != picks(2)
    assert len(set(picks(1))) == 20
