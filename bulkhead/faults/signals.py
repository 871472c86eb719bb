"""Faults that are one signal to processes of an instance. And noop, which is none.

Something else may kill and restart a target meanwhile: then the new processes must be well.
"""

from collections.abc import Callable
from functools import partial
from signal import SIGSTOP, SIGTERM
from typing import Annotated

from pydantic import Field

from bulkhead import proc
from bulkhead.faults import in_process, processes
from bulkhead.faults.contract import CONFIRM_S, HEAL_S, Site, Steps, Targets, fault, healed
from bulkhead.faults.processes import WorkerIndex, living, workers_at
from bulkhead.proc import Process
from bulkhead.topology.model import Instance


@fault(undo=processes.resume)
def kill(
    site: Site, targets: Targets, freeze_s: Annotated[float, Field(ge=0, le=10)] = 0.0
) -> Steps:
    """An instance crashes. The kernel closes its sockets, nothing is finished.

    A process that is frozen for a moment first surely dies with requests in hand.
    """
    victims = living(site, targets)
    try:
        if freeze_s:
            processes.send(victims, SIGSTOP)
            site.ending.wait(freeze_s)
        yield processes.killed(site, victims)
    finally:
        processes.resume(site, targets)
        proof = processes.accepting(site, targets)
    return proof


@fault()
def term(site: Site, targets: Targets) -> Steps:
    """An instance is told to stop, as by a deploy or an operator. It drains and exits.

    A gunicorn master passes the signal on to its workers. The leader ends last, and with it
    everything that it leads.
    """
    victims = living(site, targets)
    try:
        processes.send(processes.leaders(site, targets).values(), SIGTERM)
        yield processes.ended(site, victims, grace_s(site, targets) + CONFIRM_S)
    finally:
        proof = processes.accepting(site, targets)
    return proof


@fault(undo=processes.resume)
def hang(site: Site, targets: Targets) -> Steps:
    """An instance stops moving and stays alive: its kernel accepts, nobody answers."""
    return stopped(site, targets, partial(living, site, targets), processes.answering)


@fault(undo=processes.resume)
def hang_worker(site: Site, targets: Targets, index: WorkerIndex = 0) -> Steps:
    """One worker of a gunicorn instance stops moving; its master and the others go on."""
    chosen = partial(workers_at, site, targets, index)
    return stopped(site, targets, chosen, has_all_workers)


@fault()
def kill_worker(site: Site, targets: Targets, index: WorkerIndex = 0) -> Steps:
    """One worker of a gunicorn instance crashes, with every request that it had."""
    victims = workers_at(site, targets, index)
    try:
        yield processes.killed(site, victims)
    finally:
        proof = has_all_workers(site, targets)
    return proof


@fault()
def kill_master(site: Site, targets: Targets) -> Steps:
    """The master of a gunicorn instance crashes, alone. Its workers hold the port as orphans."""
    before = living(site, targets)
    for target in targets:
        processes.workers(site, target)  # only where there are some to become orphans
    victims = list(processes.leaders(site, targets).values())
    try:
        yield processes.killed(site, victims)
    finally:
        limit_s = grace_s(site, targets) + HEAL_S
        healed("must have ended", before, lambda old: not proc.alive(old), limit_s)
        proof = f"{has_all_workers(site, targets, limit_s)}; no more {processes.pids(before)}"
    return proof


@fault()
def noop() -> Steps:
    """Does nothing to its targets: a drill with it shows the cost of the driver itself."""
    yield "nothing was done"
    return "nothing was done"


def stopped(
    site: Site,
    targets: Targets,
    chosen: Callable[[], list[Process]],
    well: Callable[[Site, Targets], str],
) -> Steps:
    """Stop what is chosen; continue whatever of the targets is stopped, and see that it is well."""
    chosen()  # where there is nothing to stop, nothing is to be healed
    try:
        yield processes.stop(site, chosen)
    finally:
        processes.resume(site, targets)
        proof = well(site, targets)
    return proof


def has_all_workers(site: Site, targets: Targets, timeout_s: float = HEAL_S) -> str:
    """Proof that every target answers, has all its workers, and that none of them is stopped."""

    def complete(target: Instance) -> bool:
        leader = site.find(target)
        serving = proc.children(leader.pid) if leader else []
        if site.topology.file.stack.admin:  # a worker that has booted opens its admin socket
            serving = [worker for worker in serving if worker in in_process.doors(site, target)]
        wanted = site.topology.services[target.service].workers
        return len(serving) == wanted and site.answers(target)

    healed("must answer with all its workers", targets, complete, timeout_s)
    return "; ".join(
        f"{target.name} has workers "
        + ", ".join(str(worker.pid) for worker in processes.workers(site, target))
        for target in targets
    )


def grace_s(site: Site, targets: Targets) -> float:
    """The longest that one of the targets may drain."""
    return max(site.topology.services[target.service].grace_s for target in targets)
