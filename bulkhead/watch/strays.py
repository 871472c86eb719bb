"""Strays serve on though their leader has died; once a successor serves, too, they may go.

Somebody (the launcher's adopt) writes a file run/strays/PGID with the name of the program. Once the
program serves again its strays are retired: nginx's workers first announce the end of their
connections (run/closing/PID) for `closing_s`, then they are told to quit; others are told to end at
once. Whoever has not ended after the grace time is killed.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM

from bulkhead.control.process import Process, send
from bulkhead.render.paths import Home
from bulkhead.watch.conf import NGINX, Conf
from bulkhead.watch.kernel import group, names
from bulkhead.watch.program import Program

AGAIN_S = 1.0


@dataclass
class Strays:
    """What is left of one process group, on their way out. `steps` are done one after another."""

    program: str
    steps: list[str]  # of closing, ask, kill
    due: float = 0.0
    markers: list[Path] = field(default_factory=list)  # what tells nginx's workers of their end


class Retirement:
    """All strays of the stack."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folder = str(home.strays)
        self._groups: dict[int, Strays] = {}

    def turn(self, now: float, conf: Conf, programs: dict[str, Program]) -> list[tuple[str, str]]:
        """Do what is due. Returns what was done, each with the name of the program."""
        for name in names(self._folder):
            if not name.isdigit():  # still being written, or its writer was killed over it
                continue
            number, program = int(name), None
            with suppress(FileNotFoundError):  # the launcher's adopt has found nothing left of it
                program = programs.get((self._home.strays / name).read_text().strip())
            if number not in self._groups and program and _replaced(program, number):
                announce = program.spec.kind == NGINX and conf.closing_s
                steps = ["closing", "ask", "kill"] if announce else ["ask", "kill"]
                self._groups[number] = Strays(program.name, steps)
        done = []
        for number, strays in list(self._groups.items()):
            members = group(number)
            if not members:
                self._forget(number)
                done.append((strays.program, f"group {number} has ended"))
            elif now >= strays.due:
                step = strays.steps.pop(0)
                what = self._take(step, now, strays, members, conf, programs)
                pids = " ".join(str(one.pid) for one in members)
                done.append((strays.program, f"group {number} {what}: {pids}"))
        return done

    def _take(
        self,
        step: str,
        now: float,
        strays: Strays,
        members: list[Process],
        conf: Conf,
        programs: dict[str, Program],
    ) -> str:
        """Take one step; returns it in words."""
        program = programs.get(strays.program)
        nginx = program is None or program.spec.kind == NGINX
        if step == "closing":
            strays.due = now + conf.closing_s
            strays.markers = [self._home.closing / str(one.pid) for one in members]
            self._home.closing.mkdir(mode=0o700, exist_ok=True)
            for marker in strays.markers:
                marker.touch()
            return "announces its end"
        if step == "kill":
            strays.due = now + AGAIN_S
            strays.steps.append("kill")  # until nothing is left
            number, words = SIGKILL, "is killed"
        else:
            strays.due = now + (conf.proxy_grace_s if program is None else program.spec.grace_s)
            number, words = SIGQUIT if nginx else SIGTERM, "is told to end"
        for one in members:
            send(one, number)
        return words

    def _forget(self, number: int) -> None:
        for marker in self._groups.pop(number).markers:
            marker.unlink(missing_ok=True)
        (self._home.strays / str(number)).unlink(missing_ok=True)


def _replaced(program: Program, number: int) -> bool:
    """Whether the program is led by a process of another group, and serves."""
    leader = program.leader
    return leader is not None and leader.process.pid != number and program.serves()
