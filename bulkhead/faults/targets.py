"""What a fault is done to, in the words of a drill: `api-2`, `any api`, `nginx`, `app-1`, ..."""

import re
from random import Random

from bulkhead.faults.base import Fault, Site, Targets
from bulkhead.faults.hosted import OnHost
from bulkhead.faults.parts import OnPart
from bulkhead.hosts.base import DATABASE, Host, Hosts
from bulkhead.topology.model import Topology

HOST = re.compile(rf"(any|all) app|app-[1-9]|{DATABASE}")
HOSTS = f"app-1, app-2, any app, all app, {DATABASE}"


def problem(words: str, fault: type[Fault], topology: Topology) -> str:
    """What is wrong with the words, for this fault in this topology; empty when nothing is."""
    if issubclass(fault, OnPart):
        return "" if words == fault.part else f"{fault.name} is done to {fault.part}"
    if issubclass(fault, OnHost):
        return "" if HOST.fullmatch(words) else f"{fault.name} is done to a host: {HOSTS}"
    names = [one.name for one in topology.instances()]
    services = list(topology.services)
    how, _, service = words.rpartition(" ")
    if words in names or (how in ("any", "all") and service in services):
        return ""
    return (
        f"{fault.name} is done to an instance ({', '.join(names)}), "
        f"or to any or all of a service (any {services[0]}; known: {', '.join(services)})"
    )


def choose_hosts(
    hosts: Hosts, words: str, rng: Random, busy: frozenset[str] = frozenset()
) -> tuple[Host, ...]:
    """The hosts that the words mean; none if one of them is `busy`: under another fault, which
    would be undone with this one."""
    every = [hosts.host(name) for name in hosts.homes]
    if words not in ("any app", "all app"):
        every = [hosts.host(words)]
    if words != "any app":
        return () if any(one.name in busy for one in every) else tuple(every)
    free = [one for one in every if one.name not in busy]
    return (rng.choice(free),) if free else ()


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
