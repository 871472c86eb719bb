"""Carries out the schedule of faults: each injection in a thread of its own, so that they overlap.

Whatever ends a run, every injection leaves its context, which undoes the fault and proves it.
"""

import threading
from collections import Counter
from collections.abc import Sequence

from bulkhead.clock import now
from bulkhead.control import interrupts
from bulkhead.drill.events import Events
from bulkhead.drill.schedule import Injection
from bulkhead.drill.spec import FaultSection
from bulkhead.errors import EvidenceError
from bulkhead.faults import base, targets
from bulkhead.faults.base import Site
from bulkhead.hosts.base import Host
from bulkhead.topology.model import Instance, Topology


def longest_s(faults: Sequence[FaultSection], topology: Topology) -> float:
    """How long the last injection may take from its begin until it is undone."""
    hold_s = max((one.hold_s for one in faults), default=0.0)
    patience_s = max((base.known()[one.fault].patience_s for one in faults), default=0.0)
    return hold_s + patience_s + max(one.grace_s for one in topology.services.values())


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
        """Begin each injection at its time; return at monotonic time `until`, or when told to."""
        began = now()
        for one in self._plan:
            if self._site.ending.wait(max(0.0, began + one.at_s - now())):
                return
            thread = threading.Thread(target=self._one, args=(one,), name=f"injection-{one.n}")
            self._threads.append(thread)
            thread.start()
        self._site.ending.wait(max(0.0, until - now()))

    def undo(self) -> None:
        """End every hold now, and wait until everything is undone; no signal cuts that short."""
        self._site.ending.set()
        with interrupts.held():
            self.join()

    def join(self) -> None:
        """Wait until every injection that was begun is undone.

        Raises:
            EvidenceError: one of them is not, and nobody knows why.
        """
        deadline = now() + longest_s([one.fault for one in self._plan], self._site.topology)
        for thread in self._threads:
            thread.join(max(0.0, deadline - now()))
        if left := [thread.name for thread in self._threads if thread.is_alive()]:
            raise EvidenceError(f"{', '.join(left)}: neither undone nor given up")

    def _one(self, injection: Injection) -> None:
        name, n = injection.fault.fault, injection.n
        fault = base.make(name, injection.fault.params)
        chosen: tuple[Instance, ...] | tuple[Host, ...] = ()
        where = injection.fault.target
        try:
            chosen = self._choose(injection)
            where = " ".join(one.name for one in chosen) or where
            if not chosen and fault.on != "proxy":
                why = "nothing was alive and free of another fault to do it to"
                self._events.note("skipped", where, name, n, why)
                return
            self._events.note("inject", where, name, n)
            injected = fault.inject(self._site, chosen)
            with injected as proof:
                self._events.note("held", where, name, n, proof)
                self._site.ending.wait(injection.fault.hold_s)
                self._events.note("heal", where, name, n)
            self._events.note("healed", where, name, n, injected.undone)
        except Exception as error:  # whatever it was: the judge must know, and the others go on
            self._events.note("failed", where, name, n, str(error) or repr(error))
        finally:
            with self._choosing:
                self._busy.subtract(one.name for one in chosen)

    def _choose(self, injection: Injection) -> tuple[Instance, ...] | tuple[Host, ...]:
        """The targets; what another injection still holds is not chosen by chance."""
        words, chance, hosts = injection.fault.target, injection.chance, self._site.hosts
        with self._choosing:
            busy = frozenset(+self._busy)
            chosen: tuple[Instance, ...] | tuple[Host, ...]
            if hosts:
                chosen = targets.choose_hosts(hosts, words, chance, busy)
            else:
                chosen = targets.choose(self._site, words, chance, busy)
            self._busy.update(one.name for one in chosen)
            return chosen
