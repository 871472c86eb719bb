"""Signals to all processes of instances, and what is seen of them afterwards."""

from collections.abc import Iterable
from signal import SIGCONT, SIGSTOP, Signals

from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.faults.base import FaultError, Site, Targets
from bulkhead.faults.proof import HELD_S, held, undone


def living(site: Site, targets: Targets) -> list[Process]:
    """Every process of the targets.

    Raises:
        FaultError: one of them has none that supervisord has started.
    """
    if dead := [one.name for one in targets if not site.find(one)]:
        raise FaultError(f"no live process: {', '.join(dead)}")
    return [each for one in targets for each in site.processes(one)]


def send(processes: Iterable[Process], number: Signals) -> None:
    """Send a signal to all of them; one that has ended meanwhile is passed over."""
    for one in processes:
        process.send(one, number)


def gone(site: Site, processes: list[Process], timeout_s: float = HELD_S) -> str:
    """Proof by their pidfds that all of them have ended."""
    proof = f"ended: {pids(processes)}"
    held(site, proof, lambda: all(process.wait_gone(one, 0) for one in processes), timeout_s)
    return proof


def back(site: Site, targets: Targets) -> str:
    """Proof that every target has a process and accepts connections."""
    undone(
        "must run and accept connections",
        targets,
        lambda one: site.find(one) is not None and site.accepts(one),
    )
    return f"accepting: {pids(found for one in targets if (found := site.find(one)))}"


def freeze(site: Site, targets: Targets) -> str:
    """Stop every process of the targets; proof by their states in /proc."""
    names = ", ".join(one.name for one in targets)

    def stopped() -> bool:
        # Asked again each time: a gunicorn master may have forked just before it stopped.
        found = living(site, targets)
        running = [one for one in found if not process.stopped(one)]
        send(running, SIGSTOP)
        return not running

    held(site, f"every process of {names} is stopped", stopped)
    return f"stopped: {pids(living(site, targets))}"


def resume(site: Site, targets: Targets) -> None:
    """Continue whatever of the targets is stopped, workers before their master."""
    for one in targets:
        send(filter(process.stopped, reversed(site.processes(one))), SIGCONT)


def answering(site: Site, targets: Targets) -> str:
    """Proof that every target answers and that nothing of it is stopped."""
    undone("must answer /healthz, with no process stopped", targets, site.answers)
    return f"answering: {pids(found for one in targets if (found := site.find(one)))}"


def pids(processes: Iterable[Process]) -> str:
    """For a proof: `pid 12, 13`."""
    return f"pid {', '.join(str(one.pid) for one in processes)}"
