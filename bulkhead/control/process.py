"""Processes named so that they cannot be confused: pid and start time, signalled through a pidfd.

A pid alone may belong to someone else by the time a signal is sent, and pid 0 or a negative one
means whole groups of processes. So nothing here ever signals a bare number.
"""

import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

from bulkhead.clock import now


@dataclass(frozen=True, order=True)
class Process:
    """One process of this host, now and for ever: no other has this pid and this start time."""

    pid: int
    start_ticks: int  # clock ticks since the machine booted (proc(5), stat field 22)


@dataclass(frozen=True)
class Stat:
    """The fields of /proc/<pid>/stat that this project reads."""

    state: str  # one letter (proc(5)); T is stopped by a signal
    parent: int
    session: int
    start_ticks: int


def stat(pid: int) -> Stat | None:
    """What the kernel says of `pid`; None when there is no such process (or only its zombie)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold spaces and parentheses: fields are counted after the last ')'.
    fields = text.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return Stat(fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def find(pid: int) -> Process | None:
    """The live process that has this pid now."""
    found = stat(pid) if pid > 0 else None
    return Process(pid, found.start_ticks) if found else None


def alive(process: Process) -> bool:
    """Whether it still runs."""
    return find(process.pid) == process


def stopped(process: Process) -> bool:
    """Whether it lives and a signal has stopped it."""
    found = stat(process.pid)
    return bool(found and found.start_ticks == process.start_ticks and found.state == "T")


def variable(process: Process, name: str) -> str:
    """A variable of the environment that it was started with; empty when it has none."""
    try:
        text = Path(f"/proc/{process.pid}/environ").read_text(errors="replace")
    except OSError:
        return ""
    pairs = (one.partition("=") for one in text.split("\0"))
    return next((value for key, _, value in pairs if key == name), "")


def title(process: Process) -> str:
    """Its command line; nginx's processes write there what they are."""
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def resident_mb(process: Process) -> float:
    """Memory of it that is in RAM now; 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def runnable_s(process: Process) -> float:
    """Seconds that its main thread has run on a processor so far or has waited for one."""
    try:
        ran, waited, _ = Path(f"/proc/{process.pid}/schedstat").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(ran) + int(waited)) / 1e9


def send(process: Process, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when it had already gone."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The pidfd holds whoever has the pid now; if that is still ours it stays ours.
        if not alive(process):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_gone(process: Process, timeout_s: float) -> bool:
    """Wait until it has ended, without polling; False when it still runs after `timeout_s`."""
    deadline = now() + timeout_s
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return True
    try:
        if not alive(process):
            return True
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(max(0.0, deadline - now()) * 1000))
    finally:
        os.close(descriptor)


def session(leader: int) -> list[Process]:
    """Every process of a session. supervisord leads one; nothing it starts leaves it."""
    members = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only; a Path a process is slower
        if entry.isdigit() and (found := stat(int(entry))) and found.session == leader:
            members.append(Process(int(entry), found.start_ticks))
    return sorted(members)


def children(parent: int) -> list[Process]:
    """The direct children of a process, eldest first."""
    try:
        names = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    found = (find(int(name)) for name in names)
    return sorted((one for one in found if one), key=lambda one: one.start_ticks)
