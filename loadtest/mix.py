"""What an open-loop load asks for: the kinds of request, and the sequence in which they come.

The sequence is endless, pure, and the same for the same seed and weights. The first `seeds` of it
create entries, so that there is something to read and to write.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

ENTRIES = "/api/v1/entries"
ENTRY = "/api/v1/entries/{id}"
JSON = "application/json"
HTML = "text/html,application/xhtml+xml"

Effect = Literal["read", "create", "replace", "change", "delete"]
# Where the entry that a request is about comes from (loadtest.stock).
Source = Literal["", "any", "writable", "spare"]
# What the body of an answer is checked for.
Content = Literal["", "page", "entries", "entry", "written", "calls"]


@dataclass(frozen=True)
class Kind:
    """One kind of request. `place` is the target, or the pattern of the targets, without query.

    `members` are what a body says besides the amount; None: there is no body.
    """

    name: str
    method: str
    place: str
    expect: int
    content: Content = ""
    query: str = ""
    accept: str = JSON
    effect: Effect = "read"
    keyed: bool = False
    source: Source = ""
    members: Mapping[str, str] | None = None

    @cached_property
    def row_name(self) -> str:
        """What its rows are called: the same as those of the closed-loop users."""
        return f"{self.method} {self.place}"


_read = partial(Kind, expect=200)
_write = partial(Kind, content="written", keyed=True)
_ENTRY = {"account": "open-loop", "memo": "one of many"}

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _read("get", "GET", ENTRY, content="entry", source="any"),
        _read("list", "GET", ENTRIES, content="entries", query="?limit=20"),
        _write("post_keyed", "POST", ENTRIES, 201, effect="create", members=_ENTRY),
        _write("post", "POST", ENTRIES, 201, effect="create", members=_ENTRY, keyed=False),
        _write("put", "PUT", ENTRY, 200, effect="replace", source="writable", members=_ENTRY),
        _write("patch", "PATCH", ENTRY, 200, effect="change", source="writable", members={}),
        _write("delete", "DELETE", ENTRY, 204, effect="delete", source="spare", content=""),
        _read("fanout", "GET", "/api/v1/fanout", content="calls", query="?n=3"),
        _read("page", "GET", "/", content="page", accept=HTML),
    )
}
CREATE = KINDS["post_keyed"]

LEAST_SEEDS, MOST_SEEDS = 8, 64
SEEDS_S = 0.25  # how much of the load goes into the first entries, within these limits


def seeds(weights: Mapping[str, float], rate: float) -> int:
    """How many entries a load makes first: none when it neither reads nor writes one by its id.

    Few, so that each is written many times: only a newer write shows that an older one came late.
    """
    if any(weights.get(kind.name) for kind in KINDS.values() if kind.source in ("any", "writable")):
        return max(LEAST_SEEDS, min(MOST_SEEDS, int(rate * SEEDS_S)))
    return 0


def sequence(weights: Mapping[str, float], seed: int, first: int) -> Iterator[Kind]:
    """The kinds of all requests in order: `first` times CREATE, then drawn by weight."""
    yield from [CREATE] * first
    names = sorted(name for name, weight in weights.items() if weight)
    kinds, shares = [KINDS[name] for name in names], [weights[name] for name in names]
    draw = random.Random(f"kinds {seed}").choices
    while True:
        yield from draw(kinds, shares, k=1000)  # many at once is several times cheaper
