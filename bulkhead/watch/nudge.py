"""Making supervisord act at once, from a thread of its own: it may be slow, the watchdog may not.

supervisord sleeps up to a second between two turns of its loop, reaps a dead child at the end of
one turn and starts it again in the next. A connection to its socket ends the sleep (turn.py), so
does each call; as a rule the first is enough.

A program that died soon after its start (within `startsecs`) is in BACKOFF: supervisord would wait
for some seconds. Whether that is right is for the caller to say: who wants a program wants it now.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from bulkhead.clock import now

if TYPE_CHECKING:  # http.client and xmlrpc.client take longer to import than all the rest
    from bulkhead.watch.calls import Calls, Program

EVERY_S = 0.01
HURRY_S = 0.2  # what has not come by then is not waiting for another turn
SLOWLY_S = 0.1
PATIENCE_S = 1.0  # how long one wish is pursued before it is given back
ANSWER_S = 2.0


@dataclass(frozen=True)
class Report:
    """What came of a wish.

    `left`: it was stopped on purpose, or is no program of supervisord's (any more). `tried`: no
    process of it was seen, though supervisord tried to start one. `runs`: supervisord has one that
    leads nothing yet: it waits for the strays of the one before. `gone`: no supervisord answers.
    """

    name: str
    result: str


class Nudger:
    """A thread that turns supervisord's loop as long as there is a program that is wanted."""

    def __init__(self, socket: Path, complain: Callable[[str], None]) -> None:
        self._socket = socket
        self._complain = complain
        self._changed = threading.Condition()
        self._wanted: dict[str, float] = {}  # name: since when
        self._restarted: set[str] = set()  # told to stop and start again, to end a pause
        self._reports: SimpleQueue[Report] = SimpleQueue()
        self.pids: dict[str, int] = {}  # what supervisord calls the pid of each program
        # Becomes readable when there is a report.
        self.signal, self._signal = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        threading.Thread(target=self._run, name="nudge", daemon=True).start()

    def want(self, name: str) -> None:
        """Bring a process of this program, now."""
        with self._changed:
            self._wanted.setdefault(name, now())
            self._changed.notify()

    def found(self, name: str) -> None:
        """There is one."""
        with self._changed:
            self._wanted.pop(name, None)
            self._restarted.discard(name)

    def take_reports(self) -> list[Report]:
        """The reports since the last time."""
        os.read(self.signal, 4096)
        return [self._reports.get() for _ in range(self._reports.qsize())]

    def _run(self) -> None:
        from bulkhead.watch.calls import GONE, Calls, Fault  # while nobody waits for it

        calls = Calls(self._socket, ANSWER_S)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted)
                wanted = dict(self._wanted)
            try:
                self._round(calls, wanted)
            except Exception as error:  # without this thread nothing would be brought back
                if not isinstance(error, (*GONE, Fault)):
                    self._complain(f"supervisord: {error!r}")
                for name in wanted:
                    self._report(name, "gone")
            with self._changed:
                late = now() - max(wanted.values()) > HURRY_S
                self._changed.wait(SLOWLY_S if late else EVERY_S)

    def _round(self, calls: "Calls", wanted: dict[str, float]) -> None:
        programs = {one.name: one for one in calls.programs()}
        self.pids = {name: one.pid for name, one in programs.items() if one.pid}
        for name, since in wanted.items():
            if result := self.pursue(calls, programs.get(name), name, since):
                self._report(name, result)
            elif now() - since > PATIENCE_S:
                self._report(name, "runs" if name in self.pids else "tried")

    def pursue(self, calls: "Calls", program: "Program | None", name: str, since: float) -> str:
        """Do what the state of a wanted program asks for; the result, once there is one."""
        if program is None:
            return "left"
        if program.state in ("BACKOFF", "FATAL"):
            with self._changed:
                if self._wanted.get(name) != since:
                    return ""  # its process came, and has died, since this round began
                if name in self._restarted:
                    return "tried"
                self._restarted.add(name)
            calls.again(program)
        elif program.state == "STOPPED":
            if name not in self._restarted:
                return "left"
            # It had just been started when `again` told it to stop: now it can be started.
            calls.begin(program)
        elif program.state in ("STOPPING", "UNKNOWN") and name not in self._restarted:
            return "left"
        return ""

    def _report(self, name: str, result: str) -> None:
        with self._changed:
            if name not in self._wanted:
                return
            self._wanted.pop(name)
            self._restarted.discard(name)
        self._reports.put(Report(name, result))
        with suppress(BlockingIOError):
            os.write(self._signal, b".")
