"""What the logs of a stack tell."""

import re
from pathlib import Path

from bulkhead.render.paths import Home

SUPERVISORD = "supervisord"
TAIL_LINES = 12

_BORN = re.compile(r" supervisord started with pid \d+")
_SPAWNED = re.compile(r" spawned: '([^']+)' with pid \d+")


def tail(log: Path) -> list[str]:
    """The last lines of a log, indented, for a message."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [f"    {line}" for line in lines[-TAIL_LINES:]] or ["    (nothing)"]


def restarts(home: Home) -> dict[str, int]:
    """How often each program, and supervisord, was started again, as supervisord's log tells it.

    A program's first start by another supervisord does not count: that adopts what runs.
    """
    log = home.supervisord_log
    counts = {SUPERVISORD: 0}
    seen: set[str] = set()
    for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
        if _BORN.search(line):
            counts[SUPERVISORD] += bool(seen)
            seen.clear()
        elif spawned := _SPAWNED.search(line):
            name = spawned[1]
            counts[name] = counts.get(name, 0) + (name in seen)
            seen.add(name)
    return counts
