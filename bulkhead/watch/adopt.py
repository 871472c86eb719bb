"""`python -S -E -m bulkhead.watch.adopt RUN_DIR NAME -- COMMAND...`: the launcher's long way.

Something of an earlier start of program NAME still runs (supervisor/launch has seen it):

- Its leader lives: supervisord was killed, and a new one starts everything. Then this becomes a
  stand-in: a process for supervisord to hold, that passes every signal on and ends when the leader
  ends. What serves goes on serving, and nothing runs twice.
- Only others live: an nginx or gunicorn master was killed. See `inherit`.

A stand-in stays as long as what it stands for, one for each program: so this module imports little.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress

FORWARDED = (
    signal.SIGTERM,
    signal.SIGQUIT,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
ENDING = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
# A leader that was told to end is killed so long after its grace time. supervisord would wait three
# seconds longer, and then kill the stand-in alone.
BEYOND_S = 2.0


def main(arguments: list[str]) -> int:
    """Stand in for the leader of a program, or become its new leader; the exit code."""
    run, name, _, *command = arguments
    pid, ticks = noted(run, name)
    held = hold(pid, ticks)
    if held is not None:
        print(f"{name}: pid {pid} goes on; this is its stand-in", flush=True)
        return StandIn(run, name, pid, held).wait()
    from bulkhead.watch.inherit import become

    become(run, name, command, pid)
    raise AssertionError("an exec does not return")


def noted(run: str, name: str) -> tuple[int, str]:
    """Who led the program last, dead or alive: its pid, and its start in clock ticks; (0, "")."""
    try:
        with open(f"{run}/programs/{name}") as note:  # noqa: PTH123 - pathlib is half a start
            pid, ticks = note.read().split()
        return int(pid), ticks
    except (OSError, ValueError):
        return 0, ""


def hold(pid: int, ticks: str) -> int | None:
    """A pidfd of exactly this process; None when it has ended."""
    try:
        descriptor = os.pidfd_open(pid) if pid else None
    except ProcessLookupError:
        return None
    # It holds whoever has the pid now; if that is still ours it stays ours.
    return descriptor if started(pid) == ticks else None


def started(pid: int) -> str:
    """When the process `pid` started, in clock ticks; empty when it has ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


class StandIn:
    """supervisord's child in the place of a process that is not its child."""

    def __init__(self, run: str, name: str, leader: int, pidfd: int) -> None:
        self._run, self._name, self._leader, self._pidfd = run, name, leader, pidfd
        self._deadline = 0.0  # when its time to end is over; 0 until it is told to end

    def wait(self) -> int:
        """Pass signals on until the leader ends; 0 if it was told to, else 1."""
        signals = catch(FORWARDED)
        ready = select.poll()
        ready.register(self._pidfd, select.POLLIN)
        ready.register(signals, select.POLLIN)
        while True:
            found = {descriptor for descriptor, _ in ready.poll(self._patience_ms())}
            if signals in found:
                for number in os.read(signals, 64):
                    self._pass_on(number)
            if self._pidfd in found:
                return 0 if self._deadline else 1
            if self._deadline and time.monotonic() >= self._deadline:
                self._kill()

    def _pass_on(self, number: int) -> None:
        if number in ENDING and not self._deadline:
            self._deadline = time.monotonic() + self._grace_s() + BEYOND_S
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def _patience_ms(self) -> float | None:
        if not self._deadline:
            return None
        return max(100.0, (self._deadline - time.monotonic()) * 1000)

    def _grace_s(self) -> float:
        """How long it may finish what it has begun."""
        from bulkhead.watch.inherit import read_spec

        return read_spec(self._run, self._name).grace_s

    def _kill(self) -> None:
        """What supervisord would do now to its process group, if it were its parent."""
        from bulkhead.control.process import send
        from bulkhead.watch.kernel import group

        for one in group(self._leader):
            send(one, signal.SIGKILL)


def catch(numbers: tuple[signal.Signals, ...]) -> int:
    """A descriptor from which the numbers of these signals can be read, once they have come."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return read


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
