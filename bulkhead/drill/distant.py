"""Watches the instances of several hosts: nobody here sees their processes, so it asks them.

What it calls dead gives no answer in its own name within the patience: it is dead, frozen, cut off
or slow. It also learns the address of every instance, which the rows of the proxy speak of.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bulkhead.clock import now
from bulkhead.drill.events import Events
from bulkhead.drill.observer import Observer
from bulkhead.errors import EvidenceError
from bulkhead.faults.base import Site
from bulkhead.hosts.base import Hosts, answers
from bulkhead.topology.model import Instance

EVERY_S = 0.25
PATIENCE_S = 1.0
MOST_INSTANCES = 128  # asked at once


class DistantObserver(Observer):
    """As Observer; `known` is every instance that the proxy has ever known, by its address.

    `keep` is called in each turn.
    """

    def __init__(self, site: Site, hosts: Hosts, events: Events, keep: Callable[[], None]) -> None:
        self.known: dict[str, Instance] = {}
        self._hosts = hosts
        self._keep = keep
        self._pool = ThreadPoolExecutor(MOST_INSTANCES)
        super().__init__(site, events, EVERY_S)

    def turn(self) -> None:
        """Ask every instance, all at once."""
        self._keep()
        found = self._hosts.instances()
        for one in found:
            address = f"{one.host}:{one.port}"
            before = self.known.setdefault(address, one)
            if before.name != one.name:
                raise EvidenceError(
                    f"{address} was {before.name}'s and is {one.name}'s now: "
                    "what the proxy tried there cannot be told apart"
                )
        # One that the proxy has forgotten is asked where it was last.
        everybody = {one.name: one for one in (*self.known.values(), *found)}
        for name, up, at in self._pool.map(_asked, everybody.values()):
            self.saw(name, "up" if up else "dead", at)

    def addresses(self) -> dict[str, tuple[str, str]]:
        """(name, service) of every instance there was, by its address."""
        return {address: (one.name, one.service) for address, one in self.known.items()}


def _asked(instance: Instance) -> tuple[str, bool, float]:
    """Its name, whether it has answered, and since when that is known.

    One that does not answer was dead when it was asked.
    """
    began = now()
    up = answers(instance, PATIENCE_S)
    return instance.name, up, now() if up else began
