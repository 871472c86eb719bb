"""Waiting for what proves that a fault took hold, or that it is undone. Every wait is bounded."""

from collections.abc import Callable
from typing import TypeVar

from bulkhead.clock import wait_until
from bulkhead.faults.base import FaultError, Site

Item = TypeVar("Item")

HELD_S = 5
# Looking may mean to read all of /proc; what takes a second need not be known to the millisecond.
EVERY_S = 0.05
# An idle supervisord starts a dead program again within 1 to 2 s, one that has died several times
# in a row after some seconds more; a busy machine takes its time to boot it.
UNDONE_S = 20


def held(site: Site, what: str, seen: Callable[[], bool], timeout_s: float = HELD_S) -> None:
    """Wait until it is seen that a fault took hold. The end of the run cuts the wait short.

    Raises:
        FaultError: it was not.
    """

    def look() -> bool:
        if seen():
            return True
        if site.ending.is_set():
            raise FaultError(f"did not take hold before the run ended: {what}")
        return False

    if not wait_until(look, timeout_s):
        raise FaultError(f"did not take hold within {timeout_s:g} s: {what}")


def undone(
    what: str, items: tuple[Item, ...], seen: Callable[[Item], bool], timeout_s: float = UNDONE_S
) -> None:
    """Wait until `seen` has been true of every item. Only an interrupt cuts the wait short.

    Raises:
        FaultError: it was not, and of which items.
    """
    left = list(items)

    def look() -> bool:
        left[:] = [one for one in left if not seen(one)]
        return not left

    if not wait_until(look, timeout_s, EVERY_S):
        names = ", ".join(str(getattr(one, "name", one)) for one in left)
        raise FaultError(f"not undone within {timeout_s:g} s: {names} {what}")
