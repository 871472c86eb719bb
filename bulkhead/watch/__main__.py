"""`python -m bulkhead.watch HOME`: the watchdog of the stack in the folder HOME.

It runs until SIGTERM or SIGINT. One at a time: another one waits until this one has ended.
"""

import fcntl
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from bulkhead.watch.guard import dismount, mount

PRIORITY = -10  # a nice value: root's watchdog only


def main(arguments: list[str]) -> int:
    """Watch; the exit code."""
    if len(arguments) != 1:
        print("usage: python -m bulkhead.watch HOME", file=sys.stderr)
        return 2
    home = Path(arguments[0])
    guard = mount(home)
    # It needs little, but it needs it first: everything else waits for what it does about a death.
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    try:
        return watch(home)
    finally:
        dismount(guard)


def watch(path: Path) -> int:
    """Wait until no other watchdog watches this stack, then watch it until told to end."""
    # Not before the guard has been forked: it would import all of it, too.
    from bulkhead.render.paths import Home
    from bulkhead.watch.loop import Watch

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    home = Home(path)
    lock = os.open(home.run / "watch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        watching = Watch(home)
    except (OSError, ValueError) as error:
        print(f"watch: {error}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watching.end())
    watching.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
