"""The processes of a stack, signals to them, and proofs of their effect.

None of this asks supervisord. FaultError says what is not there, or was not seen in time.
"""

import socket
from collections.abc import Callable, Iterable
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals
from typing import Annotated

from pydantic import Field

from bulkhead import http_probe, proc
from bulkhead.faults.contract import CONFIRM_S, FaultError, Site, Targets, confirmed, healed
from bulkhead.proc import Process
from bulkhead.supervise import record
from bulkhead.topology.model import Instance

NGINX_MASTER, NGINX_WORKER = "nginx: master process", "nginx: worker process"

# A parameter: which gunicorn worker, 0 is the eldest.
WorkerIndex = Annotated[int, Field(ge=0, le=15)]


def pids(processes: Iterable[Process]) -> str:
    """For a proof: `pid 12, 13`."""
    return f"pid {', '.join(str(each.pid) for each in processes)}"


def living(site: Site, targets: Targets) -> list[Process]:
    """Every process of the targets, each of which must have one that leads it."""
    if dead := [target.name for target in targets if not site.find(target)]:
        raise FaultError(f"no live process: {', '.join(dead)}")
    return [member for target in targets for member in site.processes(target)]


def leaders(site: Site, targets: Iterable[Instance]) -> dict[str, Process]:
    """The process that leads each instance that has one, by the instance's name."""
    found = {target.name: site.find(target) for target in targets}
    return {name: leader for name, leader in found.items() if leader}


def workers(site: Site, target: Instance) -> list[Process]:
    """The gunicorn workers of an instance, eldest first; there must be some."""
    leader = site.find(target)
    found = proc.children(leader.pid) if leader else []
    if not found:
        raise FaultError(f"{target.name} has no workers")
    return found


def workers_at(site: Site, targets: Targets, index: int) -> list[Process]:
    """One gunicorn worker of each target; index 0 is the eldest."""
    picked = []
    living(site, targets)
    for target in targets:
        found = workers(site, target)
        if index >= len(found):
            raise FaultError(f"{target.name} has {len(found)} workers, none with index {index}")
        picked.append(found[index])
    return picked


def supervisord(site: Site) -> Process:
    """The supervisord that leads the stack now; it may not be the one that the run began with."""
    found = record.read(site.home)
    if found is None or not found.leads():
        raise FaultError("no live process: supervisord")
    return found.supervisord


def nginx_master(site: Site) -> Process:
    """The master that leads nginx; a process that is only about to become nginx is none yet."""
    found = record.leader(site.home, "nginx")
    if found is None or not proc.title(found).startswith(NGINX_MASTER):
        raise FaultError("no live process: nginx")
    return found


def nginx_workers(master: Process) -> list[Process]:
    """The workers that take new connections, eldest first; one that drains says so in its title."""
    titles = {worker: proc.title(worker) for worker in proc.children(master.pid)}
    return [
        worker
        for worker, title in titles.items()
        if title.startswith(NGINX_WORKER) and "shutting down" not in title
    ]


def generation(site: Site) -> str:
    """The configuration that nginx answers with, or "" when it does not answer."""
    return http_probe.generation(site.home.internal_socket)


def send(processes: Iterable[Process], number: Signals) -> None:
    """Send a signal to all of them; one that has ended meanwhile is passed over."""
    for receiver in processes:
        proc.send(receiver, number)


def ended(site: Site, victims: list[Process], timeout_s: float = CONFIRM_S) -> str:
    """Proof by their pidfds that all of them have ended."""

    def all_gone() -> bool:
        return all(proc.wait_gone(victim, 0) for victim in victims)

    return confirmed(site, f"ended: {pids(victims)}", all_gone, timeout_s)


def killed(site: Site, victims: list[Process]) -> str:
    """SIGKILL of all of them, and the proof."""
    send(victims, SIGKILL)
    return ended(site, victims)


def stop(site: Site, chosen: Callable[[], list[Process]]) -> str:
    """SIGSTOP of the chosen processes; proof by their states in /proc.

    They are chosen anew for each look: a gunicorn master may have forked just before it stopped.
    """

    def all_stopped() -> bool:
        running = [each for each in chosen() if not proc.stopped(each)]
        send(running, SIGSTOP)
        return not running

    confirmed(site, f"stopped: {pids(chosen())}", all_stopped)
    return f"stopped: {pids(chosen())}"


def resume(site: Site, targets: Targets) -> None:
    """Continue whatever of the targets is stopped, workers before their master.

    All of them get SIGCONT: one may be about to stop, and the signal takes that back (signal(7)).
    """
    for target in targets:
        send(reversed(site.processes(target)), SIGCONT)


def accepting(site: Site, targets: Targets) -> str:
    """Proof that every target has a process and accepts connections."""
    healed("must run and accept connections", targets, site.serves)
    return f"accepting: {pids(leaders(site, targets).values())}"


def answering(site: Site, targets: Targets) -> str:
    """Proof that every target answers and that nothing of it is stopped."""
    healed("must answer /healthz, with no process stopped", targets, site.answers)
    return f"answering: {pids(leaders(site, targets).values())}"


def nginx_answering(site: Site) -> None:
    """Wait until nginx answers."""
    healed("must answer", ("nginx",), lambda _: bool(generation(site)))


def refuses(host: str, port: int) -> bool:
    """Whether the kernel says at once that nobody listens at this address; nothing is sent."""
    try:
        with socket.create_connection((host.strip("[]"), port), http_probe.CONNECT_S) as trial:
            # A port that the kernel may give to clients can meet itself: nobody listens there.
            return bool(trial.getsockname() == trial.getpeername())
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
