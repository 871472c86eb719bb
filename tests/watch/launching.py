"""Programs started as supervisord starts them: by the launcher, each leading a process group."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.render.paths import Home
from bulkhead.watch.kernel import group
from tests.support.stack import ROOT
from tests.support.waiting import wait_until

LAUNCH = ROOT / "supervisor" / "launch"

Child = subprocess.Popen[bytes]


class Launcher:
    """A home in which programs can be launched, as far as the launcher and adopt look into it."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        for one in (self.home.etc, self.home.programs, self.home.strays, self.home.log):
            one.mkdir(parents=True)
        self._programs: list[dict[str, object]] = []
        self._children: list[Child] = []

    def know(self, name: str, kind: str, address: str = "", grace_s: float = 5) -> None:
        """Let watch.json have this program."""
        known = {"name": name, "kind": kind, "address": address, "grace_s": grace_s}
        self._programs.append(known)
        self.home.watch_conf.write_text(json.dumps({"programs": self._programs}))

    def launch(
        self,
        name: str,
        command: Sequence[str | Path],
        python: str = sys.executable,
        env: Mapping[str, str] | None = None,
    ) -> Child:
        """Launch a program; what it prints goes into log/NAME.log."""
        with (self.home.log / f"{name}.log").open("ab") as out:
            child = subprocess.Popen(
                ["/bin/sh", LAUNCH, self.home.run, name, python, *command],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                process_group=0,
            )
        self._children.append(child)
        return child

    def printed(self, name: str) -> str:
        """What a program has printed so far."""
        return (self.home.log / f"{name}.log").read_text()

    def leader(self, name: str) -> Process | None:
        """Who leads it by the note, if that one lives."""
        try:
            pid, ticks = (self.home.programs / name).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        found = Process(int(pid), int(ticks))
        return found if process.alive(found) else None

    def wait_led(self, name: str, child: Child) -> Process:
        """Wait until a child leads a program."""

        def led() -> Process | None:
            found = self.leader(name)
            return found if found and found.pid == child.pid else None

        return wait_until(f"{name} is led by {child.pid}", led)

    def end(self) -> None:
        """SIGKILL whatever was launched and whatever that has started."""
        numbers = [child.pid for child in self._children]

        def gone() -> bool:
            left = [one for number in numbers for one in group(number)]
            for one in left:
                process.send(one, signal.SIGKILL)
            return not left

        wait_until("everything launched has ended", gone)
        for child in self._children:
            child.wait()


@contextmanager
def launcher(folder: Path) -> Iterator[Launcher]:
    """A launcher; at the end nothing of it is left."""
    made = Launcher(folder)
    try:
        yield made
    finally:
        made.end()


def kill(child: Child) -> None:
    """SIGKILL one process and reap it, as supervisord does before it starts another."""
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
