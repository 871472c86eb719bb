"""How a load goes in time: the stages of a closed loop, the arrivals of an open one. Pure.

Moments are seconds from the start of the load. The schedule of an open loop is endless, and the
same for the same seed, rates and weights.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, islice
from typing import NamedTuple, TypeVar

from loadtest.requests import CREATE, KINDS, Kind

# Of each shape of a closed loop: (share of the run time, share of the peak of users), in order.
SHARES: dict[str, tuple[tuple[float, float], ...]] = {
    "ramp": tuple((0.1, step / 10) for step in range(1, 11)),
    "spike": ((0.4, 0.2), (0.2, 1.0), (0.4, 0.2)),
}


class Stage(NamedTuple):
    """A part of a run: how long, how many users, how many of them come or go per second.

    Locust asks a shape once per second what to do, so a change is spread over at most that long.
    """

    duration_s: float
    users: int
    spawn_rate: float


def stages(shape: str, run_s: float, peak: int) -> list[Stage]:
    """The stages of a run of `run_s` seconds that reaches `peak` users."""
    made: list[Stage] = []
    before = 0
    for time_share, user_share in SHARES[shape]:
        users = max(1, round(peak * user_share))
        made.append(Stage(run_s * time_share, users, max(1.0, abs(users - before))))
        before = users
    return made


def at(plan: list[Stage], elapsed_s: float) -> Stage | None:
    """The stage that holds `elapsed_s` seconds into the run; None when the run is over."""
    ends = accumulate(stage.duration_s for stage in plan)
    return next((stage for stage, end in zip(plan, ends, strict=True) if elapsed_s < end), None)


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


ARRIVALS = ("constant", "poisson")
Item = TypeVar("Item")
# From this second on, so many arrivals in each second.
Step = tuple[float, float]


def schedule(arrivals: str, rate: float, seed: int, steps: Sequence[Step] = ()) -> Iterator[float]:
    """The moments of one of ARRIVALS, at `rate` until the first of `steps`.

    `constant` is evenly apart: 0, 1/rate, 2/rate, ... `poisson` are independent of each other, as
    many users make them: the gaps are exponential, so arrivals come in clusters and lulls.
    """
    (since, rate), *later = [(0.0, rate), *steps]
    before = 0.0  # number of arrivals before this step
    # Those at a rate of 1, which are stretched. A sum of gaps of 1/rate would drift.
    gap = random.Random(f"arrivals {seed}").expovariate
    poisson = accumulate(gap(1) for _ in count())
    numbers: Iterator[float] = count() if arrivals == "constant" else poisson
    for number in numbers:
        while later and before + (later[0][0] - since) * rate <= number:
            before += (later[0][0] - since) * rate
            (since, rate), *later = later
        yield since + (number - before) / rate


@dataclass(frozen=True)
class Shard:
    """The part of a schedule that one worker carries out: every `of`th arrival from `index` on.

    Arrivals are counted from 0; of 3 workers the first has 0 3 6, the others 1 4 7 and 2 5 8.
    `began` is the moment of the monotonic clock at which the load begins for all of them; None is
    when this process is ready.
    """

    index: int = 0
    of: int = 1
    began: float | None = None

    def part(self, items: Iterator[Item]) -> Iterator[Item]:
        """Those of all `items` that are this shard's."""
        return islice(items, self.index, None, self.of)

    def number(self, place: int) -> int:
        """Which arrival of the whole schedule, counted from 1, is the shard's `place`th."""
        return self.index + 1 + self.of * (place - 1)

    def portion(self, whole: int) -> int:
        """Its part of so many things; the portions of all shards add up to the whole."""
        return len(range(self.index, whole, self.of))


WHOLE = Shard()
