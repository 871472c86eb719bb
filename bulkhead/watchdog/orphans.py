"""Orphaned workers serve on though their master has died. Once its successor serves, they may go.

The launcher (bulkhead/adopt) writes a file run/orphans/PGID with the name of the program. When the
program serves again, its orphans are retired: nginx's workers first announce the end of their
connections (run/closing/PID) for `closing_s`, then they are told to quit; others are told to end at
once. After the grace time, the rest is killed.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM, Signals

from bulkhead.atomic import mark
from bulkhead.clock import now
from bulkhead.proc import group, send
from bulkhead.render.paths import Home
from bulkhead.watchdog.processes import Program
from bulkhead.watchdog.state import NGINX, Conf, EventLog

KILL_AGAIN_S = 1.0


class Retirement:
    """All orphaned workers of the stack, by the numbers of their process groups."""

    def __init__(self, home: Home, eventlog: EventLog) -> None:
        self._folder, self._closing = home.orphans, home.closing
        self._eventlog = eventlog
        self._groups: dict[int, Iterator[None]] = {}

    def turn(self, conf: Conf, programs: dict[str, Program]) -> None:
        """Retire the groups of programs that serve again, led by a process of another group."""
        with suppress(FileNotFoundError):  # the launcher has found nothing left of one
            for name in os.listdir(self._folder):  # noqa: PTH208 - names only, 20 times a second
                if not name.isdigit() or int(name) in self._groups:
                    continue  # it is not written to its end (yet), or is known
                program = programs.get((self._folder / name).read_text(errors="replace").strip())
                leader = program.leader if program else None
                if program and leader and leader.pid != int(name) and program.serves():
                    self._groups[int(name)] = self._retire(int(name), program, conf.closing_s)
        for number, steps in list(self._groups.items()):
            if next(steps, "ended") == "ended":
                del self._groups[number]

    def _retire(self, number: int, program: Program, closing_s: float) -> Iterator[None]:
        """Retire one group step by step; goes on with each turn, until nothing is left of it."""
        spec, markers = program.spec, list[Path]()
        steps: list[tuple[str, Signals | None, float]] = [
            ("is told to end", SIGQUIT if spec.kind == NGINX else SIGTERM, spec.grace_s),
            ("is killed", SIGKILL, KILL_AGAIN_S),
        ]
        if spec.kind == NGINX and closing_s:
            steps.insert(0, ("announces its end", None, closing_s))
        while members := group(number):
            what, signal, patience_s = steps.pop(0) if len(steps) > 1 else steps[0]
            if signal is None:
                markers = [self._closing / str(process.pid) for process in members]
                with suppress(OSError):  # there is no room: they end without having announced it
                    self._closing.mkdir(mode=0o700, exist_ok=True)
                    for marker in markers:
                        mark(marker)
            else:
                for process in members:
                    send(process, signal)
            pids = " ".join(str(process.pid) for process in members)
            self._eventlog.row("orphan", program.name, f"group {number} {what}: {pids}")
            due = now() + patience_s
            while now() < due and group(number):
                yield
        for marker in (*markers, self._folder / str(number)):
            marker.unlink(missing_ok=True)
        self._eventlog.row("orphan", program.name, f"group {number} has ended")
