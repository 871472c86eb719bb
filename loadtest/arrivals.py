"""The schedule of an open-loop load: when each request is to be sent, whatever the answers do.

Moments are seconds from the start of the load. A schedule is endless, pure, and the same for the
same seed; who sends by it may be late, and then finds several moments due at once.
"""

import random
from collections.abc import Iterator
from itertools import count

ARRIVALS = ("constant", "poisson")


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


def schedule(arrivals: str, rate: float, seed: int) -> Iterator[float]:
    """The moments of one of ARRIVALS."""
    return constant(rate) if arrivals == "constant" else poisson(rate, seed)
