"""Waiting for something to become true, with a message that says what was awaited."""

from collections.abc import Callable
from typing import TypeVar

from bulkhead import clock

Value = TypeVar("Value")


def wait_until(
    what: str,
    condition: Callable[[], Value | None],
    timeout_s: float = 10,
    every_s: float = 0.02,
) -> Value:
    """The first true answer of `condition`; fails the test with `what` when there is none."""
    value = clock.wait_until(condition, timeout_s, every_s)
    assert value, f"{what}: not within {timeout_s} s"
    return value
