"""Programs started as supervisord starts them: by the launcher, each leading a process group."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bulkhead import proc
from bulkhead.proc import Process, group
from bulkhead.render.paths import Home
from bulkhead.testing import wait_until
from tests.support.stack import ROOT

LAUNCH = ROOT / "supervisor" / "launch"

Child = subprocess.Popen[bytes]


class Launcher:
    """A home in which programs can be launched, as far as the launcher and adopt look into it."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        for one in (self.home.etc, self.home.programs, self.home.orphans, self.home.log):
            one.mkdir(parents=True)
        self.prefix: list[str] = []  # what runs the launcher
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
                [*self.prefix, "/bin/sh", LAUNCH, self.home.run, name, python, *command],
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
        return proc.read_note(self.home.programs / name)

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
                proc.send(one, signal.SIGKILL)
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
