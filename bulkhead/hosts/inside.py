"""The processes of a network namespace, all of them at once: killed, frozen, or slowed down."""

import os
import threading
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals

from bulkhead.clock import pause, wait_until
from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.hosts.base import HostError

SPACES = Path("/run/netns")  # where ip-netns(8) keeps their names
ALL_S = 10  # until the last of them has been seen dead or stopped: one may just have forked
PERIOD_S = 0.1  # of a slow host: it runs for its share of each


def members(space: str) -> list[Process]:
    """Every live process of a namespace; none when there is no such namespace."""
    try:
        wanted = (SPACES / space).stat().st_ino
    except FileNotFoundError:
        return []
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only; a Path a process is slower
        if entry.isdigit() and _inode(entry) == wanted and (one := process.find(int(entry))):
            found.append(one)
    return sorted(found)


def _inode(pid: str) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino  # noqa: PTH116 - as above
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0


def kill(space: str) -> None:
    """SIGKILL of every process.

    Raises:
        HostError: one of them lives on.
    """

    def none_left() -> bool:
        left = members(space)
        _send(left, SIGKILL)
        return not left

    if not wait_until(none_left, ALL_S):
        raise HostError(f"{space}: a process cannot be killed")


def freeze(space: str) -> None:
    """SIGSTOP of every process.

    Raises:
        HostError: one of them runs on.
    """

    def all_stopped() -> bool:
        running = [one for one in members(space) if not process.stopped(one)]
        _send(running, SIGSTOP)
        return not running

    if not wait_until(all_stopped, ALL_S):
        raise HostError(f"{space}: a process cannot be stopped")


def thaw(space: str) -> None:
    """SIGCONT of every process that is stopped."""
    _send([one for one in members(space) if process.stopped(one)], SIGCONT)


def frozen(space: str) -> bool:
    """Whether every process is stopped."""
    found = members(space)
    return bool(found) and all(map(process.stopped, found))


def _send(processes: list[Process], number: Signals) -> None:
    for one in processes:
        process.send(one, number)


class Brake:
    """Lets the processes of a namespace run for a share of the time, until it is let go."""

    def __init__(self, space: str, share: float) -> None:
        self._space = space
        self._share = share
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"brake-{space}", daemon=True)
        self._thread.start()

    def let_go(self) -> None:
        """They run as before."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                found = members(self._space)
                _send(found, SIGSTOP)
                self._over.wait(PERIOD_S * (1 - self._share))
                _send(found, SIGCONT)
                pause(PERIOD_S * self._share)
        finally:
            thaw(self._space)
