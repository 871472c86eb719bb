"""Faults of supervision: supervisord or the watchdog crashes, everything dies at once, a program
crashes at each start, or supervisord stops it.
"""

import re
import socket
import xmlrpc.client
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from signal import SIGKILL

from bulkhead import proc
from bulkhead.clock import wait_until
from bulkhead.errors import StartError
from bulkhead.faults import contract, in_process, processes
from bulkhead.faults.contract import FaultError, Site, Steps, Targets, confirmed, fault, healed
from bulkhead.faults.operations import command, patience_s
from bulkhead.proc import Process
from bulkhead.render.supervisor import STOP_MARGIN_S, WATCH
from bulkhead.supervise import record
from bulkhead.supervisor_rpc import GONE, Supervisord
from bulkhead.topology.model import Instance

CRASHED_S = 10
# supervisord's pause between two tries grows by a second with each; this waits no longer.
BY_ITSELF_S = 8


@fault(on="supervisord", missing=contract.unwatched("nobody would start another"))
def kill_supervisord(site: Site) -> Steps:
    """supervisord crashes. Everything that it started lives on, without a parent."""
    victim = processes.supervisord(site)
    before = processes.leaders(site, site.topology.instances())

    def another_answers(_: str) -> bool:
        try:
            successor = processes.supervisord(site)
        except FaultError:
            return False
        return successor != victim and Supervisord(site.home.supervisor_socket).answers()

    try:
        yield processes.killed(site, [victim])
    finally:
        healed("another must answer", ("supervisord",), another_answers)
        # Only now: a call wakes it up, and it may still be about to start something.
        healed("must be run by it, once", (*before, "nginx"), partial(runs_once, site))
    after = processes.leaders(site, site.topology.instances())
    kept = [name for name, leader in before.items() if after.get(name) == leader]
    return (
        f"supervisord: pid {processes.supervisord(site).pid}; {len(kept)} of {len(before)} "
        f"instances have the process that they had"
    )


def runs_once(site: Site, name: str) -> bool:
    """Whether supervisord's child of this name leads the program, or is the leader's shim."""
    leader = record.leader(site.home, name)
    program = Supervisord(site.home.supervisor_socket).find(name)
    if program and leader and program.state in ("STARTING", "RUNNING"):
        child = proc.find(program.pid)
        return child is not None and (child == leader or contract.SHIM in proc.title(child))
    return False


@fault(on="watch", missing=contract.unwatched("there is no watchdog"))
def kill_watch(site: Site) -> Steps:
    """The watchdog crashes. Until supervisord has started another, nobody watches."""
    victim = record.leader(site.home, WATCH)
    if victim is None:
        raise FaultError("no live process: watch")

    def another_hears(_: str) -> bool:
        if record.leader(site.home, WATCH) in (None, victim):
            return False
        # The socket of a dead one is still there as a file, and refuses. Nothing is sent.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as trial:
            return trial.connect_ex(str(site.home.notify_socket)) == 0

    try:
        yield processes.killed(site, [victim])
    finally:
        healed("another must hear", ("watch",), another_hears)
    successor = record.leader(site.home, WATCH)
    return f"hears: {processes.pids([successor] if successor else [])}"


@fault(on="everything", patience_s=patience_s(1))
def kill_everything(site: Site) -> Steps:
    """Every process of the stack dies at once. Then `bulkhead up`, as an init system would."""
    victims = _members(site)
    if not victims:
        raise FaultError("no live process")

    def nothing_left() -> bool:
        left = _members(site)  # asked again: one may just have forked
        processes.send(left, SIGKILL)
        return not left

    try:
        confirmed(site, "no process of the stack is left", nothing_left)
        yield f"ended: {len(victims)} processes"
    finally:
        command(site, "up")
        instances = site.topology.instances()
        healed("must answer", instances, site.answers)
    return f"up again: {len(instances)} instances answer"


def _members(site: Site) -> list[Process]:
    """Every process of the stack, supervisord first: it must not restart the others.

    nginx is next: it must not log the deaths of the instances.
    """
    current = record.read(site.home) or site.record

    def order(member: Process) -> tuple[bool, bool, Process]:
        is_nginx = proc.title(member).startswith("nginx")
        return member != current.supervisord, not is_nginx, member

    return sorted(current.members(), key=order)


def no_crashes(site: Site, targets: Targets) -> None:
    """Let every start succeed."""
    for target in targets:
        crash_file(site, target).unlink(missing_ok=True)


def crash_file(site: Site, target: Instance) -> Path:
    """Makes every start of it fail."""
    return site.home.admin / f"{target.name}.crash"


# Only a service with an admin folder looks for its file.
@fault(missing=in_process.missing, undo=no_crashes)
def crash_at_boot(site: Site, targets: Targets) -> Steps:
    """An instance dies, and each start of it exits with status 1, as with a broken release."""
    victims = processes.living(site, targets)
    log = site.home.supervisord_log
    seen = log.stat().st_size
    names = ", ".join(target.name for target in targets)

    try:
        for target in targets:
            crash_file(site, target).touch()
        processes.send(victims, SIGKILL)
        crashed = partial(has_crashed, log, seen)
        awaited = f"{names}: died at the start, says {log.name}"
        yield confirmed(site, awaited, lambda: all(map(crashed, targets)), CRASHED_S)
    finally:
        no_crashes(site, targets)
        how = "by itself"
        if not wait_until(lambda: all(map(site.serves, targets)), BY_ITSELF_S):
            start(site, targets)
            how = "when told to (startProcess)"
        proof = f"{processes.accepting(site, targets)}; supervisord started them {how}"
    return proof


def has_crashed(log: Path, seen: int, instance: Instance) -> bool:
    """Whether supervisord's log tells, beyond `seen` bytes, of an exit with a status by itself."""
    with log.open("rb") as file:
        # A log that is shorter than it was has been rotated: all of it is new.
        file.seek(seen if log.stat().st_size >= seen else 0)
        text = file.read().decode(errors="replace")
    exit_line = rf"exited: {re.escape(instance.name)} \(exit status \d+; not expected\)"
    return re.search(exit_line, text) is not None


# Calls to supervisord: each wakes it up, and changes how fast it restarts.


def stop(site: Site, targets: Targets) -> None:
    """Let supervisord stop the targets and leave them stopped; returns when all have ended."""
    _tell(site, targets, "stop", lambda supervisord, target: supervisord.stop(target.name))


def start(site: Site, targets: Targets) -> None:
    """Let supervisord start each target that it does not run or is not just starting.

    It returns when supervisord has done so: nothing serves yet.
    """

    def start_one(supervisord: Supervisord, target: Instance) -> None:
        def state() -> str:
            if program := supervisord.find(target.name):
                return program.state
            raise FaultError(f"supervisord has no program {target.name}")

        stop_s = _stop_s(site, target)
        healed("is still being stopped", (target,), lambda _: state() != "STOPPING", stop_s)
        found = state()
        if found == "BACKOFF":  # waiting to try again, by now perhaps for long
            supervisord.stop(target.name)
        if found not in ("STARTING", "RUNNING"):
            supervisord.start(target.name)

    _tell(site, targets, "start", start_one)


def _tell(
    site: Site, targets: Targets, verb: str, act: Callable[[Supervisord, Instance], None]
) -> None:
    """supervisord answers a call when its work is done, so each target has a call of its own."""

    def tell(target: Instance) -> None:
        try:
            act(Supervisord(site.home.supervisor_socket, _stop_s(site, target)), target)
        except (xmlrpc.client.Fault, StartError, *GONE) as error:
            why = error.faultString if isinstance(error, xmlrpc.client.Fault) else error
            raise FaultError(f"supervisord could not {verb} {target.name}: {why}") from error

    with ThreadPoolExecutor(len(targets)) as pool:
        list(pool.map(tell, targets))


def _stop_s(site: Site, target: Instance) -> float:
    """How long a stop may take, its drain included."""
    return site.topology.services[target.service].grace_s + STOP_MARGIN_S + contract.CONFIRM_S


@fault(undo=start)
def refuse(site: Site, targets: Targets) -> Steps:
    """supervisord stops an instance (it drains) and leaves it stopped. Connects are refused."""
    names = ", ".join(target.name for target in targets)

    def all_refuse() -> bool:
        return all(processes.refuses(target.host, target.port) for target in targets)

    try:
        stop(site, targets)
        confirmed(site, f"{names}: connects are refused", all_refuse)
        yield f"{names}: stopped, connects are refused"
    finally:
        start(site, targets)
        proof = processes.accepting(site, targets)
    return proof
