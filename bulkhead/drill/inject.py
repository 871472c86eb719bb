"""Carries out the schedule of faults: each injection in a thread of its own, so that they overlap.

Whatever ends a run, every injection leaves its context, which undoes the fault and proves it.
"""

import threading
from collections.abc import Sequence

from bulkhead.clock import now
from bulkhead.drill.events import Events
from bulkhead.drill.schedule import Injection
from bulkhead.faults import base, targets
from bulkhead.faults.base import FaultError, Site
from bulkhead.topology.model import Instance

# A fault proves within its own bounded waits that it is undone; this is more than any of them.
UNDONE_S = 60


class Injector:
    """Runs a plan against one stack; every moment of every injection becomes an event."""

    def __init__(self, site: Site, plan: Sequence[Injection], events: Events) -> None:
        self._site = site
        self._plan = plan
        self._events = events
        self._busy: set[str] = set()
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
        """End every hold now, and wait until everything is undone."""
        self._site.ending.set()
        self.join()

    def join(self) -> None:
        """Wait until every injection that was begun is undone."""
        deadline = now() + UNDONE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - now()))

    def _one(self, injection: Injection) -> None:
        name, n = injection.fault.fault, injection.n
        fault = base.make(name, injection.fault.params)
        chosen = self._choose(injection)
        where = " ".join(one.name for one in chosen) or injection.fault.target
        if not chosen and fault.on == "instances":
            self._events.note("skipped", where, name, n, "nothing was alive to do it to")
            return
        try:
            self._events.note("inject", where, name, n)
            injected = fault.inject(self._site, chosen)
            with injected as proof:
                self._events.note("held", where, name, n, proof)
                self._site.ending.wait(injection.fault.hold_s)
                self._events.note("heal", where, name, n)
            self._events.note("healed", where, name, n, injected.undone)
        except (FaultError, OSError) as error:
            self._events.note("failed", where, name, n, str(error))
        finally:
            self._busy.difference_update(one.name for one in chosen)

    def _choose(self, injection: Injection) -> tuple[Instance, ...]:
        """The targets; what another injection still holds is not chosen by chance."""
        with self._choosing:
            chosen = targets.choose(
                self._site, injection.fault.target, injection.chance, frozenset(self._busy)
            )
            self._busy.update(one.name for one in chosen)
            return chosen
