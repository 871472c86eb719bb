"""Faults that live processes do to themselves when they are told to over their admin sockets.

Each serving process of an instance has a socket of its own, named INSTANCE.PID.sock; the sockets
of dead processes are passed over. A fault lasts until the process is told otherwise or ends: its
successor knows nothing of it. FaultError says which socket does not answer, or refuses.
"""

import json
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from bulkhead import proc
from bulkhead.clock import now, pause
from bulkhead.faults import contract
from bulkhead.faults.contract import FaultError, Site, Steps, Targets, confirmed, fault, healed
from bulkhead.faults.processes import WorkerIndex, answering, living, pids, workers_at
from bulkhead.http_probe import UnixConnection
from bulkhead.proc import Process
from bulkhead.topology.model import Instance

ANSWER_S = 2
ORDERS = ("slow_ms", "errors_share", "poison", "busy_s", "memory_mb")
# memory: 16 MB every 50 ms at best, and much less on a busy machine.
GROWTH_S_PER_MB = 0.05
# It may give something else back meanwhile, and under load grow a little by itself.
GROWN, KEPT = 0.95, 0.2
# busy: a share of a window in which the main thread ran or waited for a processor.
WINDOW_S, SHARE = 0.3, 0.8
DIE, HANG = 1, 2  # poison, in services/common/fault_injection.py

Share = Annotated[float, Field(gt=0, le=1)]
BusyS = Annotated[float, Field(ge=1, le=30)]
Doors = dict[Process, Path]


def missing(site: Site) -> str:
    """Why services cannot be told; "" when they can."""
    has = site.topology.file.stack.admin
    return "" if has else "the services have no admin sockets: stack.admin is false"


def doors(site: Site, *instances: Instance) -> Doors:
    """The sockets of the live processes of instances."""
    paths = {
        each: site.home.admin / f"{instance.name}.{each.pid}.sock"
        for instance in instances
        for each in site.processes(instance)
    }
    return {each: path for each, path in paths.items() if path.exists()}


def listening(site: Site, targets: Targets) -> Doors:
    """Every serving process of the targets with its socket; each must listen."""

    def all_listen(target: Instance, wanted: int) -> bool:
        return len(doors(site, target)) == wanted

    living(site, targets)
    for target in targets:
        wanted = site.topology.services[target.service].workers
        awaited = f"{target.name} has {wanted} processes with an admin socket"
        confirmed(site, awaited, partial(all_listen, target, wanted))
    return doors(site, *targets)


def tell(told: Doors, **settings: float) -> None:
    """Tell each of them; when one refuses, others may have been told by then."""
    for door in told.values():
        ask(door, "PUT", **settings)


def apply(site: Site, targets: Targets, **settings: float) -> Steps:
    """Tell every process of the targets, and ask each for its state: the proof."""
    try:
        told = listening(site, targets)
        tell(told, **settings)
        for each, door in told.items():
            state = ask(door, "GET")
            said = {name: state.get(name) for name in settings}
            if said != settings:
                raise FaultError(f"was not confirmed: pid {each.pid} says {said}")
        names = ", ".join(target.name for target in targets)
        given = ", ".join(f"{name} {value:g}" for name, value in settings.items())
        yield f"{names}: every process says {given}"
    finally:
        proof = clear(site, targets)
    return proof


def clear(site: Site, targets: Targets, timeout_s: float = contract.HEAL_S) -> str:
    """Undo everything that live processes of the targets were told; each must say so itself."""

    def cleared(told: Process, door: Path) -> bool:
        try:
            state = ask(door, "DELETE")
        except FaultError:
            return not proc.alive(told)
        return not any(state[name] for name in ORDERS)

    def all_cleared(target: Instance) -> bool:
        return all(cleared(each, door) for each, door in doors(site, target).items())

    healed("must say that it does nothing wrong", targets, all_cleared, timeout_s)
    return f"{', '.join(target.name for target in targets)}: no process does anything wrong"


def ask(door: Path, method: str, **settings: float) -> dict[str, Any]:
    """Ask one process (GET), tell it something (PUT) or undo all of it (DELETE); its state then."""
    connection = UnixConnection(door, ANSWER_S)
    try:
        connection.request(method, "/faults", json.dumps(settings) if settings else None)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException) as error:
        raise FaultError(f"{door.name}: {method}: no answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise FaultError(f"{door.name}: {method}: {answer.status}: {body.decode(errors='replace')}")
    return dict(json.loads(body))


process_fault = partial(fault, missing=missing, undo=clear)


@process_fault()
def slow(
    site: Site,
    targets: Targets,
    slow_ms: Annotated[float, Field(gt=0, le=60_000)],
    share: Share = 1.0,
) -> Steps:
    """An instance answers late, as with a cold cache: it delays a share of its requests."""
    return apply(site, targets, slow_ms=slow_ms, slow_share=share)


@process_fault()
def errors(
    site: Site,
    targets: Targets,
    share: Share = 1.0,
    status: Annotated[int, Field(ge=400, le=599)] = 503,
) -> Steps:
    """An instance answers a share of its requests with errors, fast and without doing anything."""
    return apply(site, targets, errors_share=share, errors_status=status)


@process_fault()
def poison(site: Site, targets: Targets, hang: bool = False) -> Steps:
    """The load's requests of kind `poison` are deadly to the targets, as an unlucky input is.

    A process that begins with such a request dies, or hangs. Those that die of one before they have
    answered are left out of the proof.
    """
    fate = HANG if hang else DIE

    def takes(each: Process, door: Path) -> bool:
        try:
            return bool(ask(door, "PUT", poison=fate)["poison"] == fate)
        except FaultError:
            if proc.alive(each):
                raise
            return False

    try:
        told = listening(site, targets)
        poisoned = [str(each.pid) for each, door in told.items() if takes(each, door)]
        if not poisoned:
            raise FaultError("was not confirmed: every process died before it was told")
        yield f"pids {', '.join(poisoned)} say poison {fate}"
    finally:
        proof = clear(site, targets)
    return proof


@process_fault()
def memory(site: Site, targets: Targets, memory_mb: Annotated[int, Field(ge=16, le=1024)]) -> Steps:
    """An instance holds more memory, as with a leak: every process, touched, until it is healed."""
    growing = listening(site, targets)
    before = {each: proc.resident_mb(each) for each in growing}

    def all_grown() -> bool:
        return all(proc.resident_mb(each) - mb >= GROWN * memory_mb for each, mb in before.items())

    def shrunk(each: Process) -> bool:
        return proc.resident_mb(each) <= before[each] + KEPT * max(before[each], memory_mb)

    try:
        tell(growing, memory_mb=memory_mb)
        limit_s = contract.CONFIRM_S + memory_mb * GROWTH_S_PER_MB
        confirmed(site, f"every process has grown by {memory_mb} MB", all_grown, limit_s)
        names = ", ".join(target.name for target in targets)
        yield f"every process of {names} has {memory_mb} MB more"
    finally:
        clear(site, targets)
        healed(f"must be smaller again by most of {memory_mb} MB", tuple(before), shrunk)
    return "each has given it back"


def cannot_be_busy(site: Site) -> str:
    """It takes admin sockets, and a kernel that tells how long a process waits to run."""
    known = Path("/proc/self/schedstat").exists()
    return missing(site) or ("" if known else "this kernel has no /proc/PID/schedstat")


@fault(missing=cannot_be_busy)
def busy(site: Site, targets: Targets, busy_s: BusyS) -> Steps:
    """An instance computes and answers nobody, as in an endless loop. Nothing ends that sooner.

    `busy_s` is how long every event loop is blocked, from the injection, not from the proof.
    """
    return _busy(site, targets, listening(site, targets), busy_s)


@fault(missing=cannot_be_busy)
def busy_worker(site: Site, targets: Targets, busy_s: BusyS, index: WorkerIndex = 0) -> Steps:
    """One worker of a gunicorn instance computes and answers nobody."""
    workers = workers_at(site, targets, index)
    serving = listening(site, targets)
    return _busy(site, targets, {worker: serving[worker] for worker in workers}, busy_s)


def _busy(site: Site, targets: Targets, told: Doors, busy_s: float) -> Steps:
    def all_busy() -> bool:
        """Whether each wanted a processor nearly all the time; on a busy machine it has to wait."""
        start = now()
        before = {member: proc.runnable_s(member) for member in told}
        pause(WINDOW_S)
        wanted = SHARE * (now() - start)
        return all(proc.runnable_s(member) - before[member] >= wanted for member in told)

    try:
        tell(told, busy_s=busy_s)
        awaited = f"wanting a processor for {SHARE:.0%} of {WINDOW_S} s: {pids(told)}"
        yield confirmed(site, awaited, all_busy)
    finally:
        clear(site, targets, busy_s + contract.HEAL_S)
        proof = answering(site, targets)
    return proof
