"""The schedule of the open loop: moments, kinds and entries, all of them pure."""

import math
from collections import Counter
from itertools import islice, pairwise

import pytest

from loadtest.requests import CREATE, KINDS, MOST_SPARE, EntryPool
from loadtest.schedule import schedule, seeds, sequence

WEIGHTS = {"get": 6.0, "put": 3.0, "page": 1.0}


def names(seed: int, weights: dict[str, float], count: int = 1000, first: int = 0) -> list[str]:
    return [kind.name for kind in islice(sequence(weights, seed, first), count)]


def test_constant_arrivals_are_evenly_apart_and_do_not_drift() -> None:
    assert list(islice(schedule("constant", 4, 1), 5)) == [0, 0.25, 0.5, 0.75, 1]
    assert next(islice(schedule("constant", 3, 1), 3_000_000, None)) == 1_000_000


def test_poisson_arrivals_have_exponential_gaps_of_the_right_mean() -> None:
    moments = list(islice(schedule("poisson", 200, 1), 100_000))
    gaps = [later - earlier for earlier, later in pairwise([0.0, *moments])]
    assert min(gaps) >= 0
    assert sum(gaps) / len(gaps) == pytest.approx(1 / 200, rel=0.01)
    for times in (0.1, 1, 3):
        longer = sum(gap > times / 200 for gap in gaps) / len(gaps)
        assert longer == pytest.approx(math.exp(-times), rel=0.03)


def test_the_same_seed_gives_the_same_moments_and_another_seed_others() -> None:
    first, second, other = (list(islice(schedule("poisson", 50, seed), 100)) for seed in (7, 7, 8))
    assert first == second != other


def test_a_rate_that_changes_moves_no_arrival_before_the_change() -> None:
    steps = [(2.0, 10.0), (3.0, 1.0)]
    found = list(islice(schedule("constant", 2, 1, steps), 17))
    assert found == pytest.approx(
        [0, 0.5, 1, 1.5, *(2 + tenth / 10 for tenth in range(10)), 3, 4, 5]
    )
    usual, stepped = (list(islice(schedule("poisson", 50, 7, each), 5000)) for each in ((), steps))
    assert [one for one in stepped if one < 2] == pytest.approx([one for one in usual if one < 2])


def test_each_step_has_its_own_rate() -> None:
    steps = [(10.0, 2000.0), (20.0, 100.0)]
    moments = list(islice(schedule("poisson", 100, 3, steps), 23_000))
    counts = Counter(min(int(moment // 10), 2) for moment in moments if moment < 30)
    assert counts[0] == pytest.approx(1000, rel=0.1)
    assert counts[1] == pytest.approx(20_000, rel=0.03)
    assert counts[2] == pytest.approx(1000, rel=0.1)
    assert moments == sorted(moments)


def test_the_same_seed_gives_the_same_kinds_and_another_seed_others() -> None:
    assert names(7, WEIGHTS) == names(7, dict(reversed(WEIGHTS.items()))) != names(8, WEIGHTS)


def test_kinds_come_by_their_weights_and_never_without_one() -> None:
    drawn = Counter(names(1, WEIGHTS | {"delete": 0.0}, 10_000))
    assert drawn.keys() == WEIGHTS.keys()
    assert drawn["get"] == pytest.approx(6000, rel=0.05)
    assert drawn["page"] == pytest.approx(1000, rel=0.1)


def test_the_first_ones_create_and_do_not_change_what_is_drawn_after_them() -> None:
    assert names(1, WEIGHTS, 1000, first=5) == [CREATE.name] * 5 + names(1, WEIGHTS, 995)


@pytest.mark.parametrize(
    ("weights", "rate", "expected"),
    [
        ({"list": 1, "page": 1, "post": 1, "delete": 1}, 400, 0),
        ({"get": 0, "list": 1}, 400, 0),
        ({"get": 1}, 1, 8),
        ({"put": 1}, 100, 25),
        ({"patch": 1, "list": 9}, 4000, 64),
    ],
)
def test_as_many_entries_are_made_first_as_the_load_needs(
    weights: dict[str, float], rate: float, expected: int
) -> None:
    assert seeds(weights, rate) == expected


def test_every_write_but_one_is_retryable_and_every_kind_has_the_name_of_its_rows() -> None:
    once = [kind.name for kind in KINDS.values() if kind.effect != "read" and not kind.keyed]
    assert once == ["post"]
    assert not any(kind.keyed for kind in KINDS.values() if kind.effect == "read")
    assert KINDS["patch"].row_name == "PATCH /api/v1/entries/{id}"


def test_an_empty_pool_has_no_entry_for_anything() -> None:
    pool = EntryPool(2, 1)
    assert [pool.take("any"), pool.take("writable"), pool.take("spare")] == ["", "", ""]


def test_the_first_entries_are_kept_and_never_spare() -> None:
    pool = EntryPool(2, 1)
    for entry in ("a", "b", "c", "d"):
        pool.add(entry)
    assert {pool.take("any") for _ in range(50)} == {"a", "b"}
    assert [pool.take("spare") for _ in range(3)] == ["c", "d", ""]


def test_an_entry_is_written_by_one_at_a_time_and_comes_back() -> None:
    pool = EntryPool(3, 1)
    for entry in ("a", "b", "c"):
        pool.add(entry)
    for _ in range(20):
        taken = [pool.take("writable") for _ in range(4)]
        assert sorted(taken) == ["", "a", "b", "c"]
        for entry in filter(None, taken):
            pool.back(entry)


def test_a_pool_that_only_grows_forgets_the_oldest_spare_entries() -> None:
    pool = EntryPool(1, 1)
    for number in range(MOST_SPARE + 3):
        pool.add(str(number))
    assert pool.take("any") == "0"
    assert pool.take("spare") == "3"


def test_the_same_seed_takes_the_same_entries() -> None:
    def taken(seed: int) -> list[str]:
        pool = EntryPool(50, seed)
        for number in range(50):
            pool.add(str(number))
        return [pool.take("any") for _ in range(20)]

    assert taken(1) == taken(1) != taken(2)
