"""`python -m bulkhead.watchdog HOME`: the watchdog of the stack in the folder HOME.

It runs until SIGTERM or SIGINT. One at a time: another one waits until this one has ended.

A dead watchdog is started again by supervisord, as any program. For what supervisord cannot do,
there is a guard: a child of the watchdog that sleeps until it dies. The guard kills a watchdog that
is stopped, and becomes the watchdog itself if none is started (supervisord was killed as well). It
is forked before anything is imported or opened that could be held too long or cost memory twice.
"""

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRIORITY = -10  # a nice value: root's watchdog only
PATIENCE_S = 1.0
EVERY_S = 0.01
LOOK_S = 0.5
STOPPED_LOOKS = 2  # a watchdog that is found stopped so often in a row is killed


def main(arguments: list[str]) -> int:
    """Watch; the exit code."""
    if len(arguments) != 1:
        print("usage: python -m bulkhead.watchdog HOME", file=sys.stderr)
        return 2
    home = Path(arguments[0])
    with guarded(home):
        # The watchdog needs little, but first: every recovery waits for it.
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        return watch(home)


def watch(path: Path) -> int:
    """Wait until no other watchdog watches this stack, then watch it until told to end."""
    # Not before the guard has been forked: it would import all of it, too.
    from bulkhead.atomic import no_link
    from bulkhead.render.paths import Home
    from bulkhead.watchdog.loop import Watchdog

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    home = Home(path)
    lock = no_link(home.run / "watch.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        watchdog = Watchdog(home)
    except (OSError, ValueError) as error:
        print(f"watch: {error}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watchdog.end())
    watchdog.run()
    return 0


@contextmanager
def guarded(home: Path) -> Iterator[None]:
    """Fork a guard of this process. At the end it has to start no other watchdog."""
    watchdog = os.getpid()
    pidfd = os.pidfd_open(watchdog)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    if not os.fork():
        try:
            # Not in the watchdog's group: the launcher would take it for what is left of that.
            os.setpgid(0, 0)
            os.close(write_end)
            if not ended_on_purpose(read_end, watchdog, pidfd):
                succeed(home, watchdog)
        finally:
            os._exit(0)
    os.close(read_end)
    os.close(pidfd)
    # If the guard alone is killed, SIGTERM ends its watchdog: the next one has a new guard.
    fcntl.fcntl(write_end, fcntl.F_SETOWN, watchdog)
    fcntl.fcntl(write_end, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(write_end, fcntl.F_SETFL, os.O_ASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(write_end, fcntl.F_SETFL, 0)  # from here on the guard may end first
        with suppress(BrokenPipeError):  # the guard was killed
            os.write(write_end, b".")


def ended_on_purpose(read_end: int, watchdog: int, pidfd: int) -> bool:
    """Sleep until the watchdog ends, and kill it if it is stopped; whether it was told to end."""
    poll = select.poll()
    poll.register(read_end, select.POLLIN)
    stopped = 0
    while not poll.poll(LOOK_S * 1000):
        with suppress(OSError):  # it ends at this very moment, as the next poll will say
            state = Path(f"/proc/{watchdog}/stat").read_text().rpartition(")")[2].split()[0]
            stopped = stopped + 1 if state == "T" else 0
            if stopped >= STOPPED_LOOKS:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    return bool(os.read(read_end, 1))


def succeed(home: Path, watchdog: int) -> None:
    """Return when another watchdog runs, or none should; if none is started, become it.

    Not sooner than after `PATIENCE_S`: one that cannot start must not try all the time.
    """
    deadline = time.monotonic() + PATIENCE_S
    run = home / "run"
    while not (run / "stopping").exists():
        with suppress(OSError, ValueError, IndexError):  # the launcher is just writing its note
            pid = int((run / "programs" / "watch").read_text().split()[0])
            if pid != watchdog and Path(f"/proc/{pid}").exists():
                return
        if time.monotonic() > deadline:
            os.execv(sys.executable, [sys.executable, "-m", "bulkhead.watchdog", str(home)])
        time.sleep(EVERY_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
