"""Faults of the system's resources: file descriptors, the accept queue, the clock."""

import itertools
import os
import resource
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from bulkhead import proc
from bulkhead.clock import wall, wall_offset
from bulkhead.faults import processes
from bulkhead.faults.contract import FaultError, Site, Steps, Targets, confirmed, fault, healed
from bulkhead.proc import Process
from bulkhead.render import nginx as render
from bulkhead.topology.model import Instance

# A connect on this machine is done within the call or not at all: the kernel drops the handshake
# when the queue is full, and the client sends it again after a second.
FULL_S = 0.5
# clock_step is done to the whole machine: this variable must allow it.
ALLOW = "BULKHEAD_ALLOW_CLOCK_STEP"
NEAR_S = 0.5


def raise_again(site: Site, targets: Targets) -> None:
    """Raise what a killed drill has left lowered: of the targets, or without any of nginx."""
    workers = [] if targets else processes.nginx_workers(processes.nginx_master(site))
    most = render.descriptors(site.topology)  # all that the stack ever asks for
    victims = itertools.chain(workers, *map(site.processes, targets))
    _set_limits({victim: most for victim in victims if soft_limit(victim) < most})


@fault(undo=raise_again)
def descriptors(site: Site, targets: Targets) -> Steps:
    """An instance has used up the files that it may open: no new connection, no file."""
    victims = processes.living(site, targets)
    return lowered(site, targets, victims, partial(processes.answering, site, targets))


@fault(on="nginx", undo=raise_again)
def nginx_descriptors(site: Site) -> Steps:
    """As descriptors, of nginx's workers."""
    victims = processes.nginx_workers(processes.nginx_master(site))

    def answering() -> str:
        processes.nginx_answering(site)
        return f"answers, and may open files again: {processes.pids(victims)}"

    return lowered(site, (), victims, answering)


def lowered(site: Site, targets: Targets, victims: list[Process], well: Callable[[], str]) -> Steps:
    """Let processes open nothing more; then give each its own limit back, and raise the rest."""
    before: dict[Process, int] = {}

    def all_lowered() -> bool:
        return all(soft_limit(one) < limit for one, limit in before.items())

    try:
        before = lower(victims)
        confirmed(site, f"can open nothing: {processes.pids(victims)}", all_lowered)
        limits = ", ".join(f"{victim.pid} at {soft_limit(victim)}" for victim in before)
        yield f"may open nothing more: pid {limits}"
    finally:
        _set_limits(before)
        raise_again(site, targets)
        proof = well()
    return proof


def lower(victims: Iterable[Process]) -> dict[Process, int]:
    """Let each open nothing more; their limits before."""
    before = {victim: soft_limit(victim) for victim in victims}
    _set_limits({victim: _first_free(victim) for victim in before})
    return {victim: limit for victim, limit in before.items() if limit}


def soft_limit(victim: Process) -> int:
    """How many files a process may open, by /proc; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{victim.pid}/limits").read_text().splitlines()
    except OSError:
        return 0
    words = next(line for line in lines if line.startswith("Max open files")).split()
    return int(words[3])


def _first_free(victim: Process) -> int:
    """The lowest descriptor that it does not use: with this as its limit it can open none."""
    try:
        used = {int(name) for name in os.listdir(f"/proc/{victim.pid}/fd")}  # noqa: PTH208
    except OSError:
        return 0
    return next(number for number in range(len(used) + 1) if number not in used)


def _set_limits(limits: Mapping[Process, int]) -> None:
    """Set the soft limits. The hard ones stay, so that the soft ones can be raised again."""
    for victim, limit in limits.items():
        with suppress(ProcessLookupError):
            if proc.alive(victim):
                hard = resource.prlimit(victim.pid, resource.RLIMIT_NOFILE)[1]
                most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
                resource.prlimit(victim.pid, resource.RLIMIT_NOFILE, (most, hard))


@fault(undo=processes.resume)
def accept_queue(site: Site, targets: Targets) -> Steps:
    """An instance hangs, and idle connections fill its accept queue: connects time out."""
    processes.living(site, targets)
    idle: list[socket.socket] = []
    # A queue holds up to some thousands: let this process open as many files as it may.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        processes.stop(site, lambda: processes.living(site, targets))
        for target in targets:
            confirmed(site, f"{target.name}: connects time out", partial(_fill, target, idle))
        waiting = (f"{target.name} has {queued(target)} in its queue" for target in targets)
        yield f"{', '.join(waiting)}, connects time out after {FULL_S} s"
    finally:
        for connection in idle:
            connection.close()
        processes.resume(site, targets)
        proof = processes.answering(site, targets)
    return proof


def queued(instance: Instance) -> int:
    """How many connections wait in the accept queue of its port, by /proc/net/tcp."""
    address = socket.inet_aton(instance.host)[::-1].hex().upper()
    wanted = {f"{address}:{instance.port:04X}", f"00000000:{instance.port:04X}"}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] in wanted and fields[3] == "0A":  # LISTEN
            return int(fields[4].partition(":")[2], 16)
    return 0


def _fill(instance: Instance, idle: list[socket.socket]) -> bool:
    """Open some connections, kept in `idle`; True when one is not taken any more."""
    for _ in range(100):
        connection = socket.socket()
        idle.append(connection)
        connection.settimeout(FULL_S)
        try:
            connection.connect((instance.host, instance.port))
        except TimeoutError:
            idle.pop().close()
            return queued(instance) > 0
        except OSError as error:
            raise FaultError(f"{instance.name}: its queue cannot be filled: {error}") from error
    return False


def forbidden() -> str:
    """The environment must allow it: it is about the machine."""
    if os.environ.get(ALLOW) != "1":
        return f"it sets the clock of the whole machine: say {ALLOW}=1 if that is meant"
    return "" if os.geteuid() == 0 else "it needs root"


@fault(on="clock", missing=forbidden)
def clock_step(site: Site, step_s: Annotated[float, Field(ge=-86_400, le=86_400)]) -> Steps:
    """The machine's wall clock is set, below 0 back in time, and set back at the end."""
    before = wall_offset()
    try:
        _set_clock(before + step_s)
        confirmed(site, f"the clock is {step_s:g} s off", lambda: _is_set(before + step_s))
        yield f"the wall clock is {wall_offset() - before:+.3f} s off"
    finally:
        if _is_set(before + step_s):  # somebody else may have put it right meanwhile
            _set_clock(before)
        healed("must be right", ("clock",), lambda _: _is_set(before))
    return f"the wall clock is {wall_offset() - before:+.3f} s off"


def _set_clock(offset: float) -> None:
    """Set the wall clock to monotonic time plus `offset`."""
    try:
        time.clock_settime(time.CLOCK_REALTIME, wall() - wall_offset() + offset)
    except PermissionError as error:
        raise FaultError(f"the clock cannot be set: {error}") from error


def _is_set(offset: float) -> bool:
    return abs(wall_offset() - offset) < NEAR_S
