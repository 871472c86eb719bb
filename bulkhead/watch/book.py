"""How things stand now, written down for `bulkhead status` and for the watchdog after this one."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from bulkhead.clock import age, now
from bulkhead.control.process import find
from bulkhead.render.paths import Home
from bulkhead.watch.conf import NGINX
from bulkhead.watch.program import Program


class Book:
    """HOME/run/watch.json."""

    def __init__(self, home: Home) -> None:
        self._path = home.run / "watch.json"
        self._since: dict[str, tuple[str, float]] = {}  # the state of each program, and since when
        self._written: Sequence[tuple[object, ...]] = ()

    def write(self, programs: dict[str, Program]) -> None:
        """Write it when something has changed."""
        short = [
            (one.name, one.state(), one.leader, one.failures, set(one.members))
            for one in programs.values()
        ]
        if short != self._written:
            found = {one.name: self._standing(one, one.state()) for one in programs.values()}
            text = json.dumps({"t": now(), "programs": found}, indent=1)
            replace(self._path, text + "\n")
            self._written = short

    def _standing(self, program: Program, state: str) -> dict[str, object]:
        if self._since.get(program.name, ("", 0))[0] != state:
            self._since[program.name] = state, round(now(), 3)
        leader = program.leader.process.pid if program.leader else 0
        nginx = program.spec.kind == NGINX and program.was_ready
        return {
            "pid": leader,
            "state": state,
            "since": self._since[program.name][1],
            "crashes": program.failures,
            "ready_pids": [leader] if nginx else sorted(one.process.pid for one in program.serving),
        }

    def ready_before(self) -> dict[str, tuple[int, list[int]]]:
        """What the watchdog before this one knew: who led each program, and who was ready for it.

        Only processes that it can have known. So a watchdog that starts again need not wait for a
        beat of each before it can tell nginx anything.
        """
        try:
            given = json.loads(self._path.read_text())
            written, programs = float(given["t"]), given["programs"]
            return {
                name: (one["pid"], [pid for pid in one["ready_pids"] if _known(pid, written)])
                for name, one in programs.items()
                if _known(one["pid"], written)
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}  # there was none, or it is of another version: the beats will tell


def replace(path: Path, text: str) -> None:
    """Write a file; whoever reads meanwhile sees the old text or the new, never a part.

    As render/files.py does it, without the modules that it needs: they would double the start.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    fresh.replace(path)


def _known(pid: int, written: float) -> bool:
    """Whether the process was there already at monotonic time `written`."""
    process = find(pid)
    return process is not None and age(process.start_ticks) > now() - written
