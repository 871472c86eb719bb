"""When each injection begins, and that chance is the seed's alone."""

from bulkhead.drill.schedule import plan
from bulkhead.drill.spec import FaultSection


def fault(**fields: object) -> FaultSection:
    return FaultSection.model_validate({"fault": "noop", "target": "any api"} | fields)


def test_a_schedule_is_in_the_order_of_its_times() -> None:
    planned = plan([fault(at_s=1.0, every_s=2.0, times=3), fault(at_s=2.0)], seed=1)
    assert [one.at_s for one in planned] == [1.0, 2.0, 3.0, 5.0]
    assert [one.n for one in planned] == [1, 2, 3, 4]
    assert planned[1].fault.times == 1


def test_no_faults_is_an_empty_schedule() -> None:
    assert plan([], seed=1) == []


def test_the_same_seed_chooses_alike_and_another_does_not() -> None:
    def picks(seed: int) -> list[float]:
        return [one.chance.random() for one in plan([fault(times=20)], seed)]

    assert picks(1) == picks(1)
    assert picks(1) != picks(2)
    assert len(set(picks(1))) == 20
