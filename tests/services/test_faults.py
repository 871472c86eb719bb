"""The state of the faults of one process: its rules, its shares, its memory."""

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.common.fault_injection import DEFAULTS, RULES, STEP_MB, Faults, FaultsInvalidError


def told(**fields: object) -> Faults:
    faults = Faults()
    faults.tell(fields)
    return faults


def grow(faults: Faults) -> Iterator[int]:
    """The memory that is held after each step."""
    due: list[Callable[[], None]] = []
    faults.begin(lambda _pause_s, step: due.append(step))
    while due:
        yield faults.state()["memory_held_mb"]
        due.pop()()


def refused(faults: Faults, **fields: object) -> str:
    with pytest.raises(FaultsInvalidError) as caught:
        faults.tell(fields)
    return str(caught.value)


def test_nothing_is_wrong_by_default() -> None:
    faults = Faults()
    assert not faults.active
    assert {faults.draw() for _ in range(100)} == {""}
    assert faults.state() == {**DEFAULTS, "memory_held_mb": 0}
    assert list(grow(faults)) == []


def test_every_bad_field_is_named_at_once_and_nothing_is_changed() -> None:
    faults = told(slow_ms=7)
    assert refused(faults, slow_ms="8", errors_share=1.5, errors_status=503.5, nonsense=[]) == (
        'slow_ms = "8": must be a number from 0 to 60000; '
        "errors_share = 1.5: must be a number from 0 to 1; "
        "errors_status = 503.5: must be a whole number from 400 to 599; "
        "nonsense = []: unknown; known are slow_ms, slow_share, errors_share, errors_status,"
        " poison, busy_s, memory_mb, memory_limit_mb"
    )
    assert faults.state() == {**DEFAULTS, "slow_ms": 7, "memory_held_mb": 0}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("value", [-1, 70_000, math.nan, math.inf, True, None, "1", [1], {}])
def test_nonsense_is_refused(name: str, value: object) -> None:
    problem = refused(Faults(), **{name: value})
    assert problem.startswith(f"{name} = ")


@pytest.mark.parametrize("name", RULES)
def test_both_ends_of_a_range_are_allowed(name: str) -> None:
    _, least, most = RULES[name]
    room: dict[str, Any] = {"memory_limit_mb": 65_536} if name == "memory_mb" else {}
    assert told(**room, **{name: least}).state()[name] == least
    assert told(**room, **{name: most}).state()[name] == most


def test_a_value_in_a_message_is_cut_short() -> None:
    problem = refused(Faults(), slow_ms="x" * 5000)
    assert len(problem) < 150


def test_more_memory_than_the_limit_is_refused_whichever_of_the_two_is_told() -> None:
    faults = told(memory_mb=64)
    wanted = "must be at most memory_limit_mb, which is"
    assert refused(faults, memory_mb=1025) == f"memory_mb = 1025: {wanted} 1024"
    assert refused(faults, memory_limit_mb=63) == f"memory_mb = 64: {wanted} 63"


def test_shares_of_none_and_all_are_exact() -> None:
    assert {told(errors_share=1).draw() for _ in range(100)} == {"errors"}
    assert {told(slow_ms=1).draw() for _ in range(100)} == {"slow"}
    assert not told(slow_ms=1, slow_share=0).active
    assert not told(slow_share=1).active


def test_shares_between_are_met_about() -> None:
    faults = told(errors_share=0.5, slow_ms=1, slow_share=0.5)
    drawn = [faults.draw() for _ in range(10_000)]
    assert drawn.count("errors") == pytest.approx(5000, abs=400)  # eight standard deviations
    assert drawn.count("slow") == pytest.approx(2500, abs=400)


def test_memory_grows_in_steps_and_never_beyond_what_is_told() -> None:
    faults = told(memory_mb=2 * STEP_MB + 1)
    assert list(grow(faults)) == [STEP_MB, 2 * STEP_MB, 2 * STEP_MB + 1]
    faults.tell({"memory_mb": STEP_MB})
    assert faults.state()["memory_held_mb"] == STEP_MB
    faults.tell(DEFAULTS)
    assert faults.state()["memory_held_mb"] == 0


def test_memory_that_is_told_twice_grows_once_and_to_the_last_word() -> None:
    faults = told(memory_mb=4 * STEP_MB)
    first = grow(faults)
    next(first)
    faults.tell({"memory_mb": 2 * STEP_MB})
    assert list(grow(faults)) == [], "it is growing already"
    assert len(list(first)) == 1
    assert faults.state()["memory_held_mb"] == 2 * STEP_MB
    faults.tell(DEFAULTS)


def test_every_field_is_documented_with_its_default() -> None:
    page = Path("docs/settings.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", page, re.MULTILINE))
    assert documented == {name: json.dumps(default) for name, default in DEFAULTS.items()}
