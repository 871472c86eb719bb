"""Processes of this host: named so that they cannot be confused, signalled, waited for, looked at.

A pid alone may belong to another process by the time a signal is sent, and pid 0 or a negative one
means whole groups of processes. So a process is its pid and its start time, and every signal goes
through a pidfd. Standard library only: the watchdog imports this, too.
"""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

MAX_PID = 4_194_304  # no pid is higher (proc(5), pid_max)
# The number of the system call, the same on every architecture; older libcs have no name for it.
PIDFD_GETFD = 438
STAT_BYTES = 4096  # more than any /proc/PID/stat has


@dataclass(frozen=True, order=True)
class Process:
    """One process of this host, now and for ever: no other has this pid and this start time."""

    pid: int
    start_ticks: int  # clock ticks since the machine booted (proc(5), stat field 22)


class Stat(NamedTuple):
    """The fields of /proc/<pid>/stat that this project reads."""

    state: str  # one letter (proc(5)); T is stopped by a signal
    parent: int
    group: int
    session: int
    start_ticks: int


def stat(pid: int) -> Stat | None:
    """The kernel's answer about `pid`; None when there is no such process (or only its zombie)."""
    try:
        # Without Path.read_text, which takes three times as long: the watchdog asks all the time.
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        text = os.read(descriptor, STAT_BYTES)
    except ProcessLookupError:
        return None
    finally:
        os.close(descriptor)
    # The command name may hold spaces and parentheses: fields are counted after the last ')'.
    fields = text.rpartition(b")")[2].split(None, 20)
    if fields[0] in b"ZX":
        return None
    parent, group, session = int(fields[1]), int(fields[2]), int(fields[3])
    return Stat(fields[0].decode(), parent, group, session, int(fields[19]))


def find(pid: int) -> Process | None:
    """The live process that has this pid now."""
    status = stat(pid) if pid > 0 else None
    return Process(pid, status.start_ticks) if status else None


def noted(path: Path) -> Process | None:
    """The process that a note `PID START_TICKS` names, dead or alive; None if there is none."""
    try:
        pid, ticks = map(int, path.read_bytes().split())
    except (FileNotFoundError, ValueError):
        return None
    return Process(pid, ticks) if 0 < pid <= MAX_PID else None  # 0 and -1 mean many processes


def read_note(path: Path) -> Process | None:
    """The live process that a note names: the leader of a program, the owner of a lock."""
    process = noted(path)
    return process if process and alive(process) else None


def alive(process: Process) -> bool:
    """Whether it still runs."""
    return find(process.pid) == process


def state(process: Process) -> str:
    """Its state, as one letter (proc(5)); empty when it has ended."""
    status = stat(process.pid)
    return status.state if status and status.start_ticks == process.start_ticks else ""


def stopped(process: Process) -> bool:
    """Whether it lives and a signal has stopped it."""
    return state(process) == "T"


def _read(process: Process, name: str) -> str:
    """A file of it in /proc; empty when it has ended, or is another user's."""
    try:
        return Path(f"/proc/{process.pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def variable(process: Process, name: str) -> str:
    """A variable of the environment that it was started with; empty when it has none."""
    pairs = (pair.partition("=") for pair in _read(process, "environ").split("\0"))
    return next((value for key, _, value in pairs if key == name), "")


def title(process: Process) -> str:
    """Its command line; nginx's processes write there what they are."""
    return _read(process, "cmdline").replace("\0", " ")


def resident_mb(process: Process) -> float:
    """Memory of it that is in RAM now; 0 when it has ended."""
    _, pages, *_ = _read(process, "statm").split() or (0, 0)
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def runnable_s(process: Process) -> float:
    """Seconds that its main thread has run on a processor so far or has waited for one."""
    ran, waited, *_ = _read(process, "schedstat").split() or (0, 0)
    return (int(ran) + int(waited)) / 1e9


class HeldProcess:
    """A process and its pidfd, readable when it ends; ProcessLookupError if it has ended."""

    def __init__(self, process: Process) -> None:
        self.process, self.pid = process, process.pid
        self.pidfd = os.pidfd_open(process.pid)
        self._files = [self.pidfd]
        # The pidfd holds the process that has the pid now; if that is ours it stays ours.
        if not alive(process):
            self.close()
            raise ProcessLookupError(process.pid)

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.pop())


def send(process: Process, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when it had already ended."""
    try:
        with closing(HeldProcess(process)) as held:
            signal.pidfd_send_signal(held.pidfd, number)
    except ProcessLookupError:
        return False
    return True


def wait_gone(process: Process, timeout_s: float) -> bool:
    """Wait until it has ended, without polling; False when it still runs after `timeout_s`."""
    try:
        with closing(HeldProcess(process)) as held:
            poller = select.poll()
            poller.register(held.pidfd, select.POLLIN)
            return bool(poller.poll(timeout_s * 1000))
    except ProcessLookupError:
        return True


def session(leader: int) -> list[Process]:
    """Every process of a session. supervisord leads one; nothing it starts leaves it."""
    return [process for process, status in living() if status.session == leader]


def group(number: int) -> list[Process]:
    """Every process of a process group. supervisord lets each program lead one."""
    return [process for process, status in living() if status.group == number]


def living() -> Iterator[tuple[Process, Stat]]:
    """Every live process of this host, lowest pid first."""
    names = os.listdir("/proc")  # noqa: PTH208 - names only; a Path a process is slower
    for pid in sorted(int(name) for name in names if name.isdigit()):
        if status := stat(pid):
            yield Process(pid, status.start_ticks), status


def children(parent: int) -> list[Process]:
    """The direct children of a process, eldest first."""
    processes = map(find, child_pids(parent))
    return sorted(filter(None, processes), key=lambda process: process.start_ticks)


def child_pids(parent: int) -> list[int]:
    """The pids of the direct children of a process; zombies are among them."""
    try:
        with open(f"/proc/{parent}/task/{parent}/children", "rb", buffering=0) as file:  # noqa: PTH123
            return [int(pid) for pid in file.readall().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def without_parent_among(members: list[Process]) -> list[Process]:
    """Those of these processes that no other of them has started."""
    pids = {process.pid for process in members}
    parents = ((process, stat(process.pid)) for process in members)
    return [process for process, status in parents if status and status.parent not in pids]


def duplicate(pidfd: int, descriptor: int) -> int:
    """A duplicate of a descriptor of the process that `pidfd` holds, by pidfd_getfd(2).

    An exec closes it. The system allows it as it allows ptrace(2): for the same user, unless Yama's
    ptrace_scope or a seccomp filter forbids it, as Docker's and systemd's @system-service do: then
    it raises PermissionError, or ENOSYS. ProcessLookupError and EBADF say that either is gone.
    """
    import ctypes  # the watchdog, which imports this module, does without

    libc = ctypes.CDLL(None, use_errno=True)
    number: int = libc.syscall(PIDFD_GETFD, pidfd, descriptor, 0)
    if number < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return number


def may_duplicate() -> bool:
    """Whether a process may take descriptors of another one of its user that is no child of it.

    A child tries it on this process: Yama allows it to ancestors, so the other way proves nothing.
    """
    this = os.pidfd_open(os.getpid())
    try:
        child = os.fork()
        if not child:
            try:
                duplicate(this, this)
            except OSError:
                os._exit(1)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        os.close(this)
