"""Load shapes: the plan as arithmetic, and as Locust carries it out."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from loadtest.schedule import Stage, at, stages
from tests.loadtest import running
from tests.loadtest.stub import serving

SHAPES = ("spike", "ramp")


def test_a_spike_is_a_fifth_then_all_then_a_fifth() -> None:
    assert stages("spike", 60, 50) == [
        Stage(24.0, 10, 10.0),
        Stage(12.0, 50, 40.0),
        Stage(24.0, 10, 40.0),
    ]


def test_a_ramp_has_ten_equal_steps_up_to_the_peak() -> None:
    plan = stages("ramp", 20, 50)
    assert [stage.users for stage in plan] == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50]
    assert {stage.duration_s for stage in plan} == {2.0}


def test_there_is_always_a_user_and_a_spawn_rate_that_locust_accepts() -> None:
    plan = stages("ramp", 20, 1)
    assert {stage.users for stage in plan} == {1}
    assert {stage.spawn_rate for stage in plan} == {1.0}


@pytest.mark.parametrize(
    ("elapsed_s", "users"), [(0, 10), (23.9, 10), (24, 50), (35.9, 50), (36, 10), (59.9, 10)]
)
def test_a_moment_belongs_to_the_stage_that_holds_it(elapsed_s: float, users: int) -> None:
    stage = at(stages("spike", 60, 50), elapsed_s)
    assert stage is not None
    assert stage.users == users


def test_nothing_follows_the_last_stage() -> None:
    assert at(stages("spike", 60, 50), 60) is None


@pytest.fixture(scope="module")
def steps_taken() -> dict[str, list[int]]:
    """For each shape the numbers of users that Locust went to with -u 10 in six seconds.

    Both at once: they mostly wait.
    """
    with ThreadPoolExecutor() as pool:
        return dict(zip(SHAPES, pool.map(numbers_of_users, SHAPES), strict=True))


@pytest.mark.live
def test_locust_follows_a_spike(steps_taken: dict[str, list[int]]) -> None:
    assert steps_taken["spike"] == [2, 10, 2]


@pytest.mark.live
def test_locust_follows_a_ramp(steps_taken: dict[str, list[int]]) -> None:
    steps = steps_taken["ramp"]
    assert steps == sorted(set(steps))
    assert steps[0] <= 2
    assert steps[-1] >= 9
    assert len(steps) >= 4  # Locust looks once a second, ten steps take six


def numbers_of_users(shape: str) -> list[int]:
    with serving() as stub:
        asked = {"shape": shape, "proxy_url": stub.url}
        done = running.locust(running.LOCUSTFILE, "-u", "10", "-t", "6s", settings=asked)
    assert done.returncode == 0, done.stderr
    return [int(n) for n in re.findall(r"Shape test updating to (\d+) users", done.stderr)]
