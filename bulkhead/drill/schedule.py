"""The schedules of a drill: which injection begins when, and how many requests come when."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from bulkhead.drill.spec import FaultSection, LoadSection, Phase, PhasesSection


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
        (moment, number)
        for number, one in enumerate(faults)
        for moment in _moments(one, f"{seed} line {number}")
    )
    return [
        Injection(n, at_s, faults[number], f"{seed}-{n}")
        for n, (at_s, number) in enumerate(times, 1)
    ]


def _moments(line: FaultSection, seed: str) -> Iterator[float]:
    chance = Random(seed)
    for turn in range(line.times):
        of = chance.random() * line.times if line.random else turn
        yield line.at_s + of * line.every_s


def rates(load: LoadSection, phases: PhasesSection) -> list[tuple[float, float]]:
    """From which second of the load on it has which rate; the first is at 0.

    A phase's rate lasts as long as the phase is planned to. When faults take longer to be undone,
    the load does not wait for them: it has the recovery's rate by then.
    """
    lengths: dict[Phase, float] = {
        "warmup": phases.warmup_s,
        "baseline": phases.baseline_s,
        "faults": phases.faults_s,
        "recovery": phases.recovery_s,
    }
    steps: list[tuple[float, float]] = []
    moment = 0.0
    for phase, seconds in lengths.items():
        rate = load.rates.get(phase, load.rate)
        if seconds and (not steps or steps[-1][1] != rate):
            steps.append((moment, rate))
        moment += seconds
    return steps
