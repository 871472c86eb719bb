"""What /proc says of processes, as far as `bulkhead.control.process` does not read it."""

import os
from dataclasses import dataclass
from pathlib import Path

from bulkhead.control.process import Process, alive

# The third field of /proc/PID/stat (proc(5)).
STOPPED = "T"
TRACED = "t"  # a debugger holds it
RUNNABLE = "R"
DISK = "D"  # waits for a disk, and cannot be interrupted: not by SIGKILL either
GONE = ""
ENDED = (GONE, "Z", "X")  # there is no such process any more, or nobody has noticed its end yet

LONGEST = 4096


@dataclass(frozen=True)
class Look:
    """What the main thread of a process does at this moment, and has done so far, in seconds."""

    state: str  # one letter; GONE when there is no such process any more
    ran: float  # on a processor
    waited: float  # runnable, while others had the processors; a wait that lasts is not in it yet


class Eye:
    """Looks at one process again and again: its files in /proc stay open, and stay its own.

    Raises:
        ProcessLookupError: it has ended.
    """

    def __init__(self, pid: int) -> None:
        try:
            self._stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise ProcessLookupError(pid) from error
        try:
            self._schedstat = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            os.close(self._stat)
            raise ProcessLookupError(pid) from error

    def state(self) -> str:
        """Its state."""
        try:
            return _state(os.pread(self._stat, LONGEST, 0))
        except ProcessLookupError:
            return GONE

    def times_s(self) -> tuple[float, float]:
        """How long it has run so far, and how long it has waited for a processor.

        Raises:
            ProcessLookupError: it has ended.
        """
        ran, waited, _ = os.pread(self._schedstat, LONGEST, 0).split()
        return int(ran) / 1e9, int(waited) / 1e9

    def look(self) -> Look:
        """All of it."""
        try:
            ran, waited = self.times_s()
        except ProcessLookupError:
            return Look(GONE, 0.0, 0.0)
        return Look(self.state(), ran, waited)

    def close(self) -> None:
        """Look no more."""
        os.close(self._stat)
        os.close(self._schedstat)


def state(pid: int) -> str:
    """The state of a process that is looked at only now and then."""
    try:
        return _state(_read(f"/proc/{pid}/stat"))
    except (FileNotFoundError, ProcessLookupError):
        return GONE


def children(pid: int) -> list[int]:
    """The pids of the direct children of a process."""
    try:
        return [int(child) for child in _read(f"/proc/{pid}/task/{pid}/children").split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def group(number: int) -> list[Process]:
    """The live members of a process group, zombies left out."""
    members = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names only; a Path a process is slower
        if not entry.isdigit():
            continue
        try:
            fields = _read(f"/proc/{entry}/stat").rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == number and fields[0] not in (b"Z", b"X"):
            members.append(Process(int(entry), int(fields[19])))
    return members


def hold(process: Process) -> int:
    """A pidfd of exactly this process: readable when it ends.

    Raises:
        ProcessLookupError: it has ended.
    """
    descriptor = os.pidfd_open(process.pid)
    # It holds whoever has the pid now; if that is still ours it stays ours.
    if not alive(process):
        os.close(descriptor)
        raise ProcessLookupError(process.pid)
    return descriptor


def leader(path: Path) -> Process | None:
    """The process that the launcher has written into `path`, whether it lives or not.

    None when there is no such file or it is not complete yet.
    """
    try:
        pid, ticks = _read(str(path)).split()
        return Process(int(pid), int(ticks))
    except (FileNotFoundError, ValueError):
        return None


def names(folder: str) -> list[str]:
    """What is in a folder; nothing when there is none."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - names only, twenty times a second
    except FileNotFoundError:
        return []


def _state(stat: bytes) -> str:
    """Fields are counted after the last parenthesis: the name before it may hold anything."""
    at = stat.rindex(b")") + 2
    return stat[at : at + 1].decode()


def _read(path: str) -> bytes:
    """A small file in one read; a third of what Path.read_text costs, thousands of times."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, LONGEST)
    finally:
        os.close(descriptor)
