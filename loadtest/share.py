"""Which part of an open-loop schedule one worker carries out."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Every `of`th arrival from number `index` on, counted from 0; of 3: 0 3 6, 1 4 7 or 2 5 8.

    So all workers together carry out the schedule of one process, each arrival once, and at any
    moment each of them has its part of the rate. `began` is the moment of the monotonic clock at
    which the load begins for all of them; None is when this process is ready.
    """

    index: int = 0
    of: int = 1
    began: float | None = None

    def part(self, items: Iterator[Item]) -> Iterator[Item]:
        """Those of all `items` that are this share's."""
        return islice(items, self.index, None, self.of)

    def number(self, place: int) -> int:
        """Which arrival of the whole schedule, counted from 1, is the share's `place`th."""
        return self.index + 1 + self.of * (place - 1)

    def portion(self, whole: int) -> int:
        """Its part of so many things; the portions of all shares add up to the whole."""
        return len(range(self.index, whole, self.of))


WHOLE = Share()
