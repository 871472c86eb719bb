"""Faults of hosts, of a stack on several (docs/hosts.md)."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Annotated

from pydantic import Field

from bulkhead.faults.contract import Site, Steps, confirmed, fault, healed
from bulkhead.hosts.interface import Host, Hosts

# A host boots all that runs on it; PostgreSQL recovers what it had not written down.
BACK_S = 60
Act = Callable[[str], None]


def no_hosts(hosts: Hosts | None) -> str:
    """There must be some."""
    return "" if hosts else "this stack is on one host; the drill needs a section [hosts]"


# The patience is of a command on a host, twice, and of the proofs.
host_fault = partial(fault, on="hosts", missing=no_hosts, patience_s=500)


def broken(
    site: Site,
    hosts: Hosts,
    targets: Sequence[Host],
    proof: str,
    act: Act,
    in_force: Callable[[str], bool],
    undo: Act,
) -> Steps:
    """Do it to each host; healed when they do their work, seen from outside and by the proxy.

    `undo` undoes it at one host, whether it was done or not.
    """
    names = ", ".join(host.name for host in targets)

    def works(host: Host) -> bool:
        return not in_force(host.word) and hosts.answers(host.word)

    try:
        with ExitStack() as ends:  # it heals all, even if one of them fails
            for host in reversed(targets):  # the first that goes is the first that returns
                ends.callback(undo, host.word)
            for host in targets:
                act(host.word)
            words = [host.word for host in targets]
            yield confirmed(site, f"{proof}: {names}", lambda: all(map(in_force, words)))
    finally:
        healed("must do its work", targets, works, BACK_S)
    return f"does its work again: {names}"


@host_fault()
def host_kill(site: Site, hosts: Hosts, targets: Sequence[Host], unplugged: bool = False) -> Steps:
    """A host crashes: SIGKILL of all of its processes, then its network is gone (`docker kill`)."""

    def act(host: str) -> None:
        if unplugged:
            hosts.partition(host)
        hosts.kill(host)

    def undo(host: str) -> None:
        hosts.heal(host)
        hosts.start(host)

    return broken(site, hosts, targets, "no process is left", act, partial(has_gone, hosts), undo)


def has_gone(hosts: Hosts, host: str) -> bool:
    """Whether none of its processes lives."""
    return not hosts.runs(host)


@host_fault()
def host_reboot(site: Site, hosts: Hosts, targets: Sequence[Host]) -> Steps:
    """A host is shut down in an orderly way and started again: it drains first (`docker stop`)."""
    gone = partial(has_gone, hosts)
    return broken(site, hosts, targets, "has shut down", hosts.stop, gone, hosts.start)


@host_fault()
def host_freeze(site: Site, hosts: Hosts, targets: Sequence[Host]) -> Steps:
    """Every process of a host is stopped (`docker pause`). Its kernel accepts and acknowledges."""
    proof = "every process is frozen"
    return broken(site, hosts, targets, proof, hosts.freeze, hosts.frozen, hosts.thaw)


@host_fault()
def host_cut(site: Site, hosts: Hosts, targets: Sequence[Host]) -> Steps:
    """A host runs on, off the network (`docker network disconnect`): silence, and no reset."""

    def cut(host: str) -> bool:
        return hosts.runs(host) and not hosts.connected(host)

    proof = "runs, and is on no network"
    return broken(site, hosts, targets, proof, hosts.partition, cut, hosts.heal)


@host_fault()
def host_slow(
    site: Site,
    hosts: Hosts,
    targets: Sequence[Host],
    share: Annotated[float, Field(ge=0.05, le=0.9)] = 0.2,
) -> Steps:
    """Everything on a host has a share of the time, or of one processor: a noisy neighbour."""
    throttle = partial(hosts.throttle, share=share)
    proof = "is slowed down"
    return broken(site, hosts, targets, proof, throttle, hosts.throttled, hosts.unthrottle)
