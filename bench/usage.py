"""Programs that the bench starts and ends, and what any process has used of the machine."""

import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bulkhead import proc
from bulkhead.proc import Process
from bulkhead.supervise.status import tail
from bulkhead.testing import Stack

TERM_S = 15
# The pages are not asked for: one small instance of them is all that the topology needs.
SMALL = ("services.web.instances=1", "services.web.workers=1")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for the time of the context."""
    with tempfile.TemporaryDirectory(prefix="bulkhead-") as name:
        Path(name).chmod(0o711)  # nginx's workers and PostgreSQL are not root, and pass through
        yield Path(name)


@contextmanager
def temporary_stack(*settings: str) -> Iterator[Stack]:
    """A stack of its own in a temporary folder. It is up."""
    with temporary_folder() as folder, Stack.running(folder / "home", settings) as stack:
        yield stack


@contextmanager
def started(
    command: Sequence[str | Path],
    log: Path,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own; at the end no process of that session is left.

    `stop` is how it is told to end.
    RuntimeError if it has failed meanwhile; with the end of its log.
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
        yield child
    finally:
        by_itself = _end(child, stop)
    if by_itself and child.returncode:
        raise RuntimeError("\n".join([f"{command[0]} failed ({child.returncode}):", *tail(log)]))


def _end(child: subprocess.Popen[bytes], stop: signal.Signals) -> bool:
    """End it and the rest of its session; whether it had ended by itself before."""
    root = proc.find(child.pid)
    if root:
        proc.send(root, stop)
        proc.wait_gone(root, TERM_S)
    # Not reaped yet, so its number is still its own, and that of its session.
    left = proc.session(child.pid)
    for member in left:
        proc.send(member, signal.SIGKILL)
    for member in left:
        proc.wait_gone(member, TERM_S)
    child.wait()
    return root is None


def instance(supervisord: int, name: str) -> Process | None:
    """The process that a supervisord has started as instance `name`; None while there is none.

    Read from /proc: to ask supervisord would wake it, and so make it look quicker than it is.
    """
    children = proc.children(supervisord)
    named = (one for one in children if proc.variable(one, "BULKHEAD_INSTANCE") == name)
    return next(named, None)


def tree(pid: int) -> list[psutil.Process]:
    """A process and everything that it or its children have started."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def programs(stack: Stack) -> dict[str, list[psutil.Process]]:
    """Each program of a stack by its name, the eldest first; with all its processes."""
    noted = ((path.name, proc.read_note(path)) for path in stack.home.programs.iterdir())
    leaders = {name: leader for name, leader in noted if leader}
    eldest = sorted(leaders, key=lambda name: (leaders[name].start_ticks, leaders[name].pid))
    return {name: tree(leaders[name].pid) for name in eldest}


def _total(processes: Iterable[psutil.Process], figure: Callable[[psutil.Process], float]) -> float:
    """Of all of them together; those that have gone: 0."""
    total = 0.0
    for member in processes:
        with suppress(psutil.NoSuchProcess):
            total += figure(member)
    return total


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """Seconds of processor time that they have used so far, in steps of a clock tick each."""
    return _total(processes, lambda member: sum(member.cpu_times()[:2]))


def wake_ups(processes: Iterable[psutil.Process]) -> float:
    """How often they have given up a processor by themselves: each time, one was woken before."""
    return _total(processes, lambda member: member.num_ctx_switches().voluntary)


def pss_mb(processes: Iterable[psutil.Process]) -> float:
    """Memory of all of them, a page that several share counted once."""
    return _total(processes, lambda member: member.memory_full_info().pss) / 2**20
