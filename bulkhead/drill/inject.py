"""The schedule of a drill's faults and of its load, and the injections, each in its own thread.

Whatever ends a run, every injection leaves its context, which heals the fault and proves it.
"""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from bulkhead import interrupts
from bulkhead.clock import now
from bulkhead.drill.observe import Events
from bulkhead.drill.spec import FaultSection, LoadSection, PhasesSection
from bulkhead.errors import EvidenceError
from bulkhead.faults import contract
from bulkhead.faults.contract import Site, Target
from bulkhead.topology.model import Topology


@dataclass(frozen=True)
class Injection:
    """One injection that is planned: the `n`-th of the run."""

    n: int
    at_s: float  # from the start of the faults phase
    fault: FaultSection
    chance: Random  # its own: the picks of one injection do not depend on the others


def plan(faults: Sequence[FaultSection], seed: int) -> list[Injection]:
    """Every injection of a drill, in the order in which they start."""
    times: list[tuple[float, int]] = []
    for number, line in enumerate(faults):
        chance = Random(f"{seed} line {number}")
        for turn in range(line.times):
            steps = chance.random() * line.times if line.random else turn
            times.append((line.at_s + steps * line.every_s, number))
    return [
        Injection(n, at_s, faults[number], Random(f"{seed}-{n}"))
        for n, (at_s, number) in enumerate(sorted(times), 1)
    ]


def rates(load: LoadSection, phases: PhasesSection) -> list[tuple[float, float]]:
    """From which second of the load on it has which rate; the first is at 0.

    If faults take longer than planned to be healed, the load has the recovery's rate by then.
    """
    steps: list[tuple[float, float]] = []
    moment = 0.0
    for phase, seconds in phases.lengths.items():
        rate = load.rates.get(phase, load.rate)
        if seconds and (not steps or steps[-1][1] != rate):
            steps.append((moment, rate))
        moment += seconds
    return steps


def longest_s(faults: Sequence[FaultSection], topology: Topology) -> float:
    """How long the last injection may take from its start until it is healed."""
    duration_s = max((line.duration_s for line in faults), default=0.0)
    patience_s = max((contract.known()[line.fault].patience_s for line in faults), default=0.0)
    return duration_s + patience_s + max(service.grace_s for service in topology.services.values())


class Injector:
    """Runs a plan against one stack; every moment of every injection becomes an event."""

    def __init__(self, site: Site, plan: Sequence[Injection], events: Events) -> None:
        self._site = site
        self._plan = plan
        self._events = events
        self._busy: Counter[str] = Counter()
        self._choosing = threading.Lock()
        self._threads: list[threading.Thread] = []

    def run(self, until: float) -> None:
        """Start each injection at its time; return at monotonic time `until`, or when told to."""
        start = now()
        for planned in self._plan:
            if self._site.ending.wait(max(0.0, start + planned.at_s - now())):
                return
            name = f"injection-{planned.n}"
            thread = threading.Thread(target=self._inject, args=(planned,), name=name)
            self._threads.append(thread)
            thread.start()
        self._site.ending.wait(max(0.0, until - now()))

    def heal(self) -> None:
        """End every fault now, and wait until all are healed; no signal cuts that short."""
        self._site.ending.set()
        with interrupts.signals_deferred():
            self.join()

    def join(self) -> None:
        """Wait until all are healed. Raise EvidenceError if one neither ends nor fails."""
        deadline = now() + longest_s([planned.fault for planned in self._plan], self._site.topology)
        for thread in self._threads:
            thread.join(max(0.0, deadline - now()))
        if left := [thread.name for thread in self._threads if thread.is_alive()]:
            raise EvidenceError(f"{', '.join(left)}: neither healed nor given up")

    def _inject(self, planned: Injection) -> None:
        name, n = planned.fault.fault, planned.n
        fault = contract.make(name, planned.fault.params)
        chosen: Sequence[Target] = ()
        where = planned.fault.target
        try:
            chosen = self._choose(planned)
            where = " ".join(target.name for target in chosen) or where
            if fault.has_targets and not chosen:
                why = "nothing was alive and free of another fault to do it to"
                self._events.note("skipped", where, name, n, why)
                return
            self._events.note("inject", where, name, n)
            injected = fault.injected(self._site, chosen)
            with injected as proof:
                self._events.note("confirmed", where, name, n, proof)
                self._site.ending.wait(planned.fault.duration_s)
                self._events.note("heal", where, name, n)
            self._events.note("healed", where, name, n, injected.healed)
        except Exception as error:  # whatever it was: the judge must know, and the others go on
            self._events.note("failed", where, name, n, str(error) or repr(error))
        finally:
            with self._choosing:
                self._busy.subtract(target.name for target in chosen)

    def _choose(self, planned: Injection) -> Sequence[Target]:
        """The targets. `any` takes none that is still under another fault."""
        with self._choosing:
            busy = frozenset(+self._busy)
            chosen = self._site.choose(planned.fault.target, planned.chance, busy)
            self._busy.update(target.name for target in chosen)
            return chosen
