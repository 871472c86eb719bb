"""`python -S -E -m bulkhead.adopt RUN_DIR NAME -- COMMAND...`: the launcher's long way.

supervisor/launch has seen that something of an earlier start of program NAME still runs:

- Its leader lives: supervisord was killed, and a new one starts everything. Then this process
  becomes a shim, supervisord's child in the place of the leader: it passes signals on, and ends
  when the leader does. It stays that long, so this module imports little.
- Only its workers live: an nginx or gunicorn master was killed. See `successor.py`.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress

ENDING = (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT)
FORWARDED = (*ENDING, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# A leader that was told to end is killed so long after its grace time. supervisord would wait three
# seconds longer, and then kill the shim alone.
BEYOND_S = 2.0
MAX_PID = 4_194_304  # no pid is higher (proc(5), pid_max)


def main(arguments: list[str]) -> int:
    """Become the shim of a program's leader, or its new leader; the exit code."""
    run, name, _, *command = arguments
    pid, ticks = noted(run, name)
    pidfd = hold(pid, ticks)
    if pidfd is not None:
        print(f"{name}: pid {pid} goes on; this is its shim", flush=True)
        return shim(run, name, pid, pidfd)
    from bulkhead.adopt.successor import succeed

    succeed(run, name, command, pid)
    raise AssertionError("an exec does not return")


def noted(run: str, name: str) -> tuple[int, str]:
    """The last leader, dead or alive: its pid, and its start in clock ticks; (0, "") if unknown."""
    try:
        with open(f"{run}/programs/{name}") as note:  # noqa: PTH123 - pathlib is half a start
            pid, ticks = note.read().split()
        return (int(pid), ticks) if 0 < int(pid) <= MAX_PID else (0, "")
    except (OSError, ValueError):
        return 0, ""


def hold(pid: int, ticks: str) -> int | None:
    """A pidfd of exactly this process; None when it has ended."""
    try:
        descriptor = os.pidfd_open(pid) if pid else None
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
    except (ProcessLookupError, FileNotFoundError):
        return None
    # The pidfd holds the process that has the pid now; if that is still ours, it stays ours.
    return None if fields[0] in "ZX" or fields[19] != ticks else descriptor


def shim(run: str, name: str, leader: int, pidfd: int) -> int:
    """Be supervisord's child for a leader: pass signals on; 0 if it was told to end, 1 if not."""
    # The numbers of signals can be read from `signals` as they come.
    signals, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_end)
    for number in FORWARDED:
        signal.signal(number, lambda *_: None)
    ready = select.poll()
    ready.register(pidfd, select.POLLIN)
    ready.register(signals, select.POLLIN)
    deadline = 0.0  # when the leader's time to end is over; 0 until it is told to end
    while True:
        patience_ms = max(100.0, (deadline - time.monotonic()) * 1000) if deadline else None
        readable = {descriptor for descriptor, _ in ready.poll(patience_ms)}
        for come in os.read(signals, 64) if signals in readable else b"":
            if come in ENDING and not deadline:
                from bulkhead.adopt.successor import read_spec

                deadline = time.monotonic() + read_spec(run, name).grace_s + BEYOND_S
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, come)
        if pidfd in readable:
            return 0 if deadline else 1
        if deadline and time.monotonic() >= deadline:
            from bulkhead.proc import group, send

            for process in group(leader):  # as supervisord would do now to a child of its own
                send(process, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
