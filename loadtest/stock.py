"""The ledger entries that an open-loop load has made, and what it may do with each.

Kept entries are read and written and never deleted; an entry is being written by one request at
most. All further ones are spare: no one reads them, and each may be deleted once.
"""

import random
from collections import deque

from loadtest.mix import Source

MOST_SPARE = 1000


class Stock:
    """`keep` is how many entries are kept. Which of them a request gets depends on the seed."""

    def __init__(self, keep: int, seed: int) -> None:
        self._keep = keep
        self._random = random.Random(f"entries {seed}").random
        self._kept: list[str] = []
        self._writable: list[str] = []  # those of the kept that no request is writing
        # A load that creates more than it deletes forgets the oldest: its memory stays the same.
        self._spare: deque[str] = deque(maxlen=MOST_SPARE)

    def add(self, entry: str) -> None:
        """A new entry whose creation was acknowledged."""
        if len(self._kept) < self._keep:
            self._kept.append(entry)
            self._writable.append(entry)
        else:
            self._spare.append(entry)

    def take(self, source: Source) -> str:
        """An entry for a request of this source; "" when there is none now.

        One that is to be written is no longer writable until it is put `back`.
        """
        if source == "any":
            return self._kept[int(self._random() * len(self._kept))] if self._kept else ""
        if source == "spare":
            return self._spare.popleft() if self._spare else ""
        if not self._writable:
            return ""
        place, last = int(self._random() * len(self._writable)), self._writable.pop()
        if place == len(self._writable):
            return last
        entry, self._writable[place] = self._writable[place], last
        return entry

    def back(self, entry: str) -> None:
        """A write has ended, known or not: the next one may follow, and may even overtake it."""
        self._writable.append(entry)
