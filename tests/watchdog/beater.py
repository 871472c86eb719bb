"""A tiny service for the tests: it sends heartbeats, and misbehaves when it is told to.

`python -m tests.watchdog.beater WORKERS`: with 0 workers it serves itself, like a Tornado instance;
else it is a master whose workers serve and are replaced when they die, like a gunicorn.
Environment: BROKEN names a file; while that exists, every process ends at its start.
SIGUSR1: compute for ever. SIGUSR2: compute for 0.1 s in each turn from now on.
SIGTERM: drain for as many seconds as DRAIN says, then end.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from services.common.notify import Notifier


def serve() -> None:
    """Serve until told to stop."""
    stop: list[bool] = []
    busy: list[bool] = []
    working: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    signal.signal(signal.SIGUSR1, lambda *_: busy.append(True))
    signal.signal(signal.SIGUSR2, lambda *_: working.append(True))
    notifier = Notifier.from_environment()
    due: list[tuple[float, Callable[[], None]]] = []
    notifier.ready(lambda delay, call: due.append((time.monotonic() + delay, call)))
    drained = None
    while drained is None or time.monotonic() < drained:
        if stop and drained is None:
            drained = time.monotonic() + float(os.environ.get("DRAIN", "0"))
            notifier.stopping()
        while busy:
            pass
        done = time.process_time() + 0.1
        while working and time.process_time() < done:
            pass
        time.sleep(max(0.0, min(at for at, _ in due) - time.monotonic()))
        called, now = due[:], time.monotonic()
        due[:] = [one for one in called if one[0] > now]
        for at, call in called:  # as a loop does: every timer that is due, in one turn
            if at <= now:
                call()


def lead(count: int) -> None:
    """Keep so many workers."""
    workers: set[int] = set()

    def end(number: int, _frame: FrameType | None) -> None:
        for pid in workers:
            os.kill(pid, number)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    Notifier.from_environment().ready(lambda _delay, _call: None)  # once, as gunicorn's does
    while True:
        while len(workers) < count:
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                serve()
                os._exit(0)
            workers.add(pid)
        workers.discard(os.wait()[0])


if os.path.exists(os.environ.get("BROKEN", "")):  # noqa: PTH110 - as few imports as can be
    sys.exit(1)
if int(sys.argv[1]):
    lead(int(sys.argv[1]))
else:
    serve()
