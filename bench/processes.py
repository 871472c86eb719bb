"""Programs that the bench starts and ends, and what any process has used of the machine."""

import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bulkhead import clock
from bulkhead.control import process
from bulkhead.control.process import Process
from tests.support.waiting import wait_until

TERM_S = 15
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Program:
    """One that was started: its process, and the wait for its own end."""

    def __init__(self, child: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process = process.find(child.pid) or Process(child.pid, 0)
        self._child = child
        self._log = log

    def require(self) -> None:
        """Check that it runs.

        Raises:
            RuntimeError: it has ended by itself; with the end of its log.
        """
        if not process.alive(self.process):
            raise RuntimeError(f"{self._child.args!r} has ended:\n{tail(self._log)}")

    def wait(self, timeout_s: float) -> int:
        """Its exit code, once it has ended by itself.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        return self._child.wait(timeout_s)


@contextmanager
def started(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[Program]:
    """Run a program in a session of its own; at the end no process of that session is left.

    `stop` is how it is told to end.

    Raises:
        RuntimeError: it has failed meanwhile; with the end of its log.
    """
    with log.open("ab") as file:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for the bench, which ends things in order
        )
    by_itself = False
    try:
        yield Program(child, log)
    finally:
        by_itself = _end(child, stop)
    if by_itself and child.returncode:
        raise RuntimeError(f"{command[0]} failed ({child.returncode}):\n{tail(log)}")


def _end(child: "subprocess.Popen[bytes]", stop: signal.Signals) -> bool:
    """End it and whatever is left of its session; whether it had ended by itself before."""
    root = process.find(child.pid)
    if root:
        process.send(root, stop)
        if not process.wait_gone(root, TERM_S):
            process.send(root, signal.SIGKILL)
    # Not reaped yet, so its number is still its own, and that of its session.
    left = [one for one in process.session(child.pid) if one != root]
    for one in left:
        process.send(one, signal.SIGKILL)
    for one in left:
        process.wait_gone(one, TERM_S)
    child.wait()
    return root is None


def tail(log: Path) -> str:
    """The last lines of a file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:])


def instance(supervisord: int, name: str) -> Process | None:
    """The process that a supervisord has started as instance `name`; None while there is none.

    Read from /proc: to ask supervisord would wake it, and so make it look quicker than it is.
    """
    found = (
        one
        for one in process.children(supervisord)
        if process.variable(one, "BULKHEAD_INSTANCE") == name
    )
    return next(found, None)


def kill(victim: Process) -> float:
    """SIGKILL, and the wait for its end; the moment at which it was sent."""
    sent = clock.now()
    assert process.send(victim, signal.SIGKILL), f"{victim} had gone already"
    wait_until(f"the end of {victim}", lambda: process.wait_gone(victim, 1))
    return sent


def cpu_s(processes: Iterable[Process]) -> float:
    """Seconds of processor time that they have used so far, in steps of a clock tick each; those
    that have gone: 0.
    """
    total = 0
    for one in processes:
        try:
            fields = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def wake_ups(one: Process) -> int:
    """How often it has given up the processor by itself so far: each time, it was woken before."""
    text = Path(f"/proc/{one.pid}/status").read_text()
    return int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


def pss_mb(processes: Iterable[Process]) -> float:
    """Memory of all of them, a page that several share counted once; those that have gone: 0."""
    total = 0
    for one in processes:
        try:
            text = Path(f"/proc/{one.pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += int(text.partition("\nPss:")[2].split()[0])
    return total / 1024


def tree(root: Process) -> list[Process]:
    """A process and everything that it or its children have started."""
    return [root, *(below for one in process.children(root.pid) for below in tree(one))]
