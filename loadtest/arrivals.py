"""The schedule of an open-loop load: when each request is to be sent, whatever the answers do.

Moments are seconds from the start of the load. A schedule is endless, pure, and the same for the
same seed; who sends by it may be late, and then finds several moments due at once.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import count

ARRIVALS = ("constant", "poisson")

# From this second on, so many arrivals in each second.
Step = tuple[float, float]


def constant(rate: float) -> Iterator[float]:
    """`rate` arrivals in each second, evenly: the moments 0, 1/rate, 2/rate, ..."""
    # Divided anew each time: a sum of gaps would drift.
    return (number / rate for number in count())


def poisson(rate: float, seed: int) -> Iterator[float]:
    """`rate` arrivals in a second on average, independent of each other, as many users make them.

    The gaps are exponential, so arrivals come in clusters and lulls.
    """
    gap = random.Random(f"arrivals {seed}").expovariate
    moment = 0.0
    while True:
        moment += gap(rate)
        yield moment


def stretched(moments: Iterator[float], steps: Sequence[Step]) -> Iterator[float]:
    """Arrivals at a rate of 1, made to come at the rates of `steps`, of which the first is at 0."""
    (since, rate), *later = steps
    before = 0.0  # how many came before this step
    for number in moments:
        while later and before + (later[0][0] - since) * rate <= number:
            before += (later[0][0] - since) * rate
            (since, rate), *later = later
        yield since + (number - before) / rate


def schedule(arrivals: str, rate: float, seed: int, steps: Sequence[Step] = ()) -> Iterator[float]:
    """The moments of one of ARRIVALS, at `rate` until the first of `steps`."""
    at_first = 1 if steps else rate
    moments = constant(at_first) if arrivals == "constant" else poisson(at_first, seed)
    return stretched(moments, [(0.0, rate), *steps]) if steps else moments
