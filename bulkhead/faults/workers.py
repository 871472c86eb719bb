"""The workers of instances that have some: gunicorn's."""

from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.faults import admin
from bulkhead.faults.base import FaultError, Site, Targets
from bulkhead.faults.proof import undone
from bulkhead.topology.model import Instance


def of(site: Site, one: Instance) -> list[Process]:
    """Its workers, eldest first.

    Raises:
        FaultError: it is dead, or has none.
    """
    leader = site.find(one)
    if leader is None:
        raise FaultError(f"no live process: {one.name}")
    found = process.children(leader.pid)
    if not found:
        raise FaultError(f"{one.name} has no workers")
    return found


def pick(site: Site, targets: Targets, index: int) -> list[Process]:
    """One worker of each target; 0 is the eldest.

    Raises:
        FaultError: a target has none of this index.
    """
    picked = []
    for one in targets:
        found = of(site, one)
        if index >= len(found):
            raise FaultError(f"{one.name} has {len(found)} workers, none with index {index}")
        picked.append(found[index])
    return picked


def complete(site: Site, targets: Targets, timeout_s: float | None = None) -> str:
    """Proof that every target answers, has all its workers, and that none of them is stopped."""

    def seen(one: Instance) -> bool:
        wanted = site.topology.services[one.service].workers
        leader = site.find(one)
        serving = process.children(leader.pid) if leader else []
        if site.topology.file.stack.admin:  # it is opened when a worker has booted
            serving = [each for each in serving if each in admin.doors(site, one)]
        return len(serving) == wanted and site.answers(one)

    what = "must answer with all its workers"
    if timeout_s is None:
        undone(what, targets, seen)
    else:
        undone(what, targets, seen, timeout_s)
    return "; ".join(
        f"{one.name} has workers " + ", ".join(str(each.pid) for each in of(site, one))
        for one in targets
    )
