"""Watches every instance from outside, and writes down when it is up, dead or stopped.

It never asks supervisord anything: every call wakes it up, and a death would be noticed sooner than
by itself. A living process is watched through the kernel alone, at no cost to it; only the port of
a dead one is connected to, until somebody accepts there again.
"""

from collections.abc import Mapping
from typing import Literal

from bulkhead.clock import now
from bulkhead.control import process
from bulkhead.drill.background import Background
from bulkhead.drill.events import Events
from bulkhead.errors import EvidenceError
from bulkhead.faults.base import Site
from bulkhead.topology.model import Instance

EVERY_S = 0.01

State = Literal["up", "dead", "stopped"]


class Observer(Background):
    """`states` is what it sees now: from the beginning, and then for the time of its context."""

    def __init__(self, site: Site, events: Events, every_s: float = EVERY_S) -> None:
        super().__init__(every_s)
        self._site = site
        self._events = events
        self._processes: dict[str, process.Process] = {}
        self._states: dict[str, State] = {}
        self.turn()

    @property
    def states(self) -> Mapping[str, State]:
        """The last known state of every instance."""
        return dict(self._states)

    def require(self) -> None:
        """Check that it still watches.

        Raises:
            EvidenceError: it has broken, so that the states are not what they seem.
        """
        if self.failure is not None:
            raise EvidenceError(f"the observer of the instances broke: {self.failure}")

    def turn(self) -> None:
        """Look at every instance."""
        for one in self._site.topology.instances():
            self.saw(one.name, self._state(one), now())

    def saw(self, name: str, state: State, at: float) -> None:
        """Write down what an instance has been since `at`, if it was not so before."""
        if self._states.get(name) != state:
            self._states[name] = state
            self._events.note("state", target=name, detail=state, at=at)

    def _state(self, instance: Instance) -> State:
        known = self._processes.get(instance.name)
        found = process.stat(known.pid) if known else None
        if known and found and found.start_ticks == known.start_ticks:
            return "stopped" if found.state == "T" else "up"
        if self._states.get(instance.name, "dead") != "dead":
            return "dead"  # also when another process serves by now: it has died in between
        # Dead, or not seen yet: up only when a process of this name accepts connections.
        again = self._site.find(instance)
        if again and self._site.accepts(instance):
            self._processes[instance.name] = again
            return "up"
        return "dead"
