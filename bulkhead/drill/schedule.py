"""The schedule of a drill's faults: which injection begins when, and with which chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from bulkhead.drill.spec import FaultSection


@dataclass(frozen=True)
class Injection:
    """One injection that is planned: the `n`-th of the run."""

    n: int
    at_s: float  # from the begin of the faults phase
    fault: FaultSection
    seed: str

    @property
    def chance(self) -> Random:
        """Its own source of chance: what one injection picks does not hang on the others."""
        return Random(self.seed)


def plan(faults: Sequence[FaultSection], seed: int) -> list[Injection]:
    """Every injection of a drill, in the order in which they begin."""
    times = sorted(
        (one.at_s + turn * one.every_s, number)
        for number, one in enumerate(faults)
        for turn in range(one.times)
    )
    return [
        Injection(n, at_s, faults[number], f"{seed}-{n}")
        for n, (at_s, number) in enumerate(times, 1)
    ]
