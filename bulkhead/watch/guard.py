"""Who watches the watchdog: a child of it that sleeps until it dies.

supervisord would start the watchdog again by itself, a second or two later, for nobody is left to
nudge it. The guard does that one thing. When there is no supervisord to be nudged (both were
killed), it becomes the watchdog itself, and the first thing which that finds is that supervisord is
missing. And it kills a watchdog that somebody has stopped. It is forked before anything is imported
or opened that could be held too long or cost memory twice.
"""

import fcntl
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from bulkhead.watch.turn import turn

PATIENCE_S = 1.0
EVERY_S = 0.01
LOOK_S = 0.5
STOPPED = 2  # so many looks in a row that find it stopped are enough


def mount(home: Path) -> int:
    """Fork the guard of this process; the descriptor by which `dismount` ends it."""
    watch = os.getpid()
    pidfd = os.pidfd_open(watch)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(reading)
        os.close(pidfd)
        # A guard that is killed alone ends its watchdog by SIGTERM: the next one has a new guard.
        fcntl.fcntl(writing, fcntl.F_SETOWN, watch)
        fcntl.fcntl(writing, fcntl.F_SETSIG, signal.SIGTERM)
        fcntl.fcntl(writing, fcntl.F_SETFL, os.O_ASYNC)
        return writing
    # Not in the watchdog's group: the launcher would take it for what is left of the watchdog.
    os.setpgid(0, 0)
    os.close(writing)
    try:
        if not told(reading, watch, pidfd):
            succeed(home, watch)
    finally:
        os._exit(0)


def dismount(writing: int) -> None:
    """The watchdog ends as it should: nobody is to start it again."""
    fcntl.fcntl(writing, fcntl.F_SETFL, 0)  # from here on the guard may go first
    with suppress(BrokenPipeError):  # somebody has killed it
        os.write(writing, b".")


def told(reading: int, watch: int, pidfd: int) -> bool:
    """Sleep until the watchdog ends; whether it was told to."""
    ends = select.poll()
    ends.register(reading, select.POLLIN)
    stopped = 0
    while not ends.poll(LOOK_S * 1000):
        with suppress(OSError):  # it ends at this very moment, which the next poll says too
            state = Path(f"/proc/{watch}/stat").read_text().rpartition(")")[2].split()[0]
            stopped = stopped + 1 if state == "T" else 0
            if stopped >= STOPPED:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return bool(os.read(reading, 1))


def succeed(home: Path, watch: int) -> None:
    """Return when another watchdog runs or none should; if nobody starts one, become it.

    Not sooner than after `PATIENCE_S`: one that cannot start must not try all the time.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not (home / "run" / "stopping").exists() and not another(home, watch):
        if time.monotonic() > deadline:
            os.execv(sys.executable, [sys.executable, "-m", "bulkhead.watch", str(home)])
        turn(home / "run" / "supervisor.sock")
        time.sleep(EVERY_S)


def another(home: Path, watch: int) -> bool:
    """Whether there is a watchdog that is not the dead one."""
    with suppress(OSError, ValueError):
        pid = int((home / "run" / "programs" / "watch").read_text().split()[0])
        return pid != watch and Path(f"/proc/{pid}").exists()
    return False
