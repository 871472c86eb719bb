"""The number of files that live processes may open, and how it is lowered and raised again."""

import os
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.faults import signals
from bulkhead.faults.base import Site
from bulkhead.faults.proof import held
from bulkhead.render.nginx import descriptors
from bulkhead.topology.model import Topology

Limits = dict[Process, int]


def soft(one: Process) -> int:
    """How many it may open, as /proc tells; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{one.pid}/limits").read_text().splitlines()
    except OSError:
        return 0
    words = next(line for line in lines if line.startswith("Max open files")).split()
    return int(words[3])


def first_free(one: Process) -> int:
    """The lowest descriptor that it does not use: with this as its limit it can open none."""
    try:
        used = {int(name) for name in os.listdir(f"/proc/{one.pid}/fd")}  # noqa: PTH208
    except OSError:
        return 0
    return next(number for number in range(len(used) + 1) if number not in used)


def lower(processes: Iterable[Process]) -> Limits:
    """Let each open nothing more; what it could before."""
    before = {one: soft(one) for one in processes}
    for one in before:
        _set(one, first_free(one))
    return {one: limit for one, limit in before.items() if limit}


def restore(before: Limits) -> None:
    """As it was."""
    for one, limit in before.items():
        _set(one, limit)


@contextmanager
def lowered(site: Site, victims: list[Process]) -> Iterator[str]:
    """Let them open nothing more meanwhile; the proof that it took hold."""
    before = lower(victims)
    try:
        held(
            site,
            f"can open nothing: {signals.pids(victims)}",
            lambda: all(soft(one) < limit for one, limit in before.items()),
        )
        told = (f"{one.pid} at {soft(one)}" for one in before)
        yield f"may open nothing more: pid {', '.join(told)}"
    finally:
        restore(before)


def mend(processes: Iterable[Process], topology: Topology) -> None:
    """Raise what is below all that the stack ever asks for: somebody has left it lowered."""
    for one in processes:
        if soft(one) < descriptors(topology):
            _set(one, descriptors(topology))


def _set(one: Process, limit: int) -> None:
    """Set the soft limit; the hard one stays, so that it can be raised again by whoever asks."""
    if not process.alive(one):
        return
    try:
        hard = resource.prlimit(one.pid, resource.RLIMIT_NOFILE)[1]
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.prlimit(one.pid, resource.RLIMIT_NOFILE, (most, hard))
    except ProcessLookupError:
        return
