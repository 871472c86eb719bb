"""Faults that are one signal to processes of an instance, or of nginx. And noop, which is none.

Something else may kill and restart a target meanwhile: then the new processes must be well.
"""

from collections.abc import Callable
from functools import partial
from signal import SIGHUP, SIGSTOP, SIGTERM
from typing import Annotated

from pydantic import Field

from bulkhead import proc
from bulkhead.faults import contract, in_process, processes
from bulkhead.faults.contract import FaultError, Site, Steps, Targets, confirmed, fault, healed
from bulkhead.faults.processes import WorkerIndex, living, nginx_master, nginx_workers, pids
from bulkhead.proc import Process
from bulkhead.topology.model import Instance

RELOADED_S = 10


@fault(undo=processes.resume)
def kill(
    site: Site, targets: Targets, freeze_s: Annotated[float, Field(ge=0, le=10)] = 0.0
) -> Steps:
    """An instance crashes. The kernel closes its sockets, nothing is finished."""
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

    A gunicorn master passes the signal on to its workers, and ends last.
    """
    victims = living(site, targets)
    try:
        processes.send(processes.leaders(site, targets).values(), SIGTERM)
        yield processes.ended(site, victims, grace_s(site, targets) + contract.CONFIRM_S)
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
    chosen = partial(processes.workers_at, site, targets, index)
    return stopped(site, targets, chosen, has_all_workers)


@fault()
def kill_worker(site: Site, targets: Targets, index: WorkerIndex = 0) -> Steps:
    """One worker of a gunicorn instance crashes, with every request that it had."""
    victims = processes.workers_at(site, targets, index)
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
        limit_s = grace_s(site, targets) + contract.HEAL_S
        healed("must have ended", before, lambda old: not proc.alive(old), limit_s)
        proof = f"{has_all_workers(site, targets, limit_s)}; no more {pids(before)}"
    return proof


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


def has_all_workers(site: Site, targets: Targets, timeout_s: float = contract.HEAL_S) -> str:
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


@fault()
def noop() -> Steps:
    """Does nothing to its targets: a drill with it shows the cost of the driver itself."""
    yield "nothing was done"
    return "nothing was done"


@fault(on="nginx")
def kill_nginx(site: Site) -> Steps:
    """nginx's master crashes. Its workers serve on and hold the port, as orphans."""
    victim = nginx_master(site)
    old = proc.children(victim.pid)
    wanted = processes.generation(site)
    settings = site.topology.proxy
    host, _, port = settings.listen.rpartition(":")
    refused: list[bool] = []

    def taken_over(_: str) -> bool:
        refused.append(processes.refuses(host, int(port)))
        try:
            new = nginx_master(site)
        except FaultError:
            return False
        if new == victim or any(map(proc.alive, old)):
            return False
        return len(nginx_workers(new)) >= settings.workers and processes.generation(site) == wanted

    try:
        yield processes.killed(site, [victim])
    finally:
        # Orphans first announce the end of their connections, then finish what they have.
        limit_s = settings.closing_s + settings.grace_s + contract.HEAL_S
        must = "must serve with new workers, and without the old"
        healed(must, ("nginx",), taken_over, limit_s)
    return (
        f"workers: {pids(nginx_workers(nginx_master(site)))}, no more {pids(old)}; "
        f"{sum(refused)} of {len(refused)} connects were refused meanwhile"
    )


@fault(on="nginx")
def nginx_worker(site: Site, index: Annotated[int, Field(ge=0, le=63)] = 0) -> Steps:
    """A worker of nginx crashes, and every connection that it held; 0 is the eldest."""
    master = nginx_master(site)
    before = nginx_workers(master)
    if index >= len(before):
        raise FaultError(f"nginx has {len(before)} workers, none with index {index}")
    try:
        yield processes.killed(site, [before[index]])
    finally:
        must = f"must have {len(before)} workers again"
        healed(must, ("nginx",), lambda _: len(nginx_workers(master)) >= len(before))
    return f"workers: {pids(nginx_workers(master))}"


@fault(on="nginx")
def nginx_reload(site: Site) -> Steps:
    """nginx reads its configuration again, as at every deploy of a change."""
    master = nginx_master(site)
    old = nginx_workers(master)
    proc.send(master, SIGHUP)

    def taken_over() -> bool:
        new = nginx_workers(master)
        return len(new) >= len(old) and not set(new) & set(old) and bool(processes.generation(site))

    confirmed(site, "new workers of nginx serve, and none of the old", taken_over, RELOADED_S)
    yield f"workers: {pids(nginx_workers(master))}, no more {pids(old)}"
    processes.nginx_answering(site)
    return f"nothing to undo; workers: {pids(nginx_workers(master))}"
