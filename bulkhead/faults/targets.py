"""What a fault is done to, in the words of a drill: `api-2`, `any api`, `all api`, `nginx`, ..."""

from random import Random

from bulkhead.faults.base import Fault, Site, Targets
from bulkhead.faults.parts import OnPart
from bulkhead.topology.model import Topology


def problem(words: str, fault: type[Fault], topology: Topology) -> str:
    """What is wrong with the words, for this fault in this topology; empty when nothing is."""
    if issubclass(fault, OnPart):
        return "" if words == fault.part else f"{fault.name} is done to {fault.part}"
    names = [one.name for one in topology.instances()]
    services = list(topology.services)
    how, _, service = words.rpartition(" ")
    if words in names or (how in ("any", "all") and service in services):
        return ""
    return (
        f"{fault.name} is done to an instance ({', '.join(names)}), "
        f"or to any or all of a service (any {services[0]}; known: {', '.join(services)})"
    )


def choose(site: Site, words: str, rng: Random, busy: frozenset[str] = frozenset()) -> Targets:
    """The instances that the words mean now; none when none of them is alive.

    `any` takes one that accepts connections and that is not `busy`: under another fault already.
    For a fault that is done to a part of the stack there is nothing to choose.
    """
    how, _, service = words.rpartition(" ")
    if how == "any":
        free = [
            one
            for one in site.topology.instances(service)
            if one.name not in busy and site.find(one) and site.accepts(one)
        ]
        return (rng.choice(free),) if free else ()
    named = [
        one
        for one in site.topology.instances()
        if words == one.name or (how and one.service == service)
    ]
    return tuple(one for one in named if site.find(one))
