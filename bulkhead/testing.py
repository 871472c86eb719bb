"""Shared by tests and the bench: stacks of their own, on free ports, driven by the real command.

Nothing of the product imports it. A failure is an AssertionError, as in a test.
"""

import fcntl
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeVar

from bulkhead import clock, proc
from bulkhead.render.paths import Home
from bulkhead.supervise import record

ROOT = Path(__file__).parents[1]

# Below the kernel's ephemeral range (32768), where any outgoing connection may take a port.
FIRST_PORT, LAST_PORT, BLOCK = 20000, 32000, 120

Value = TypeVar("Value")


def wait_until(
    what: str,
    condition: Callable[[], Value | None],
    timeout_s: float = 10,
    every_s: float = 0.02,
) -> Value:
    """The first true answer of `condition`; fails with `what` when there is none."""
    value = clock.wait_until(condition, timeout_s, every_s)
    assert value, f"{what}: not within {timeout_s} s"
    return value


@contextmanager
def free_ports() -> Iterator[list[int]]:
    """BLOCK consecutive free ports, which no other run gets until the end of the context."""
    folder = Path(tempfile.gettempdir()) / "bulkhead-ports"
    folder.mkdir(exist_ok=True)
    for start in range(FIRST_PORT, LAST_PORT, BLOCK):
        with (folder / str(start)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            ports = list(range(start, start + BLOCK))
            if all(map(is_free, ports)):
                yield ports
                return
    raise AssertionError("no block of free ports is left")


def is_free(port: int) -> bool:
    """Whether a server could bind to it now."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Stack:
    """One stack's settings; `bulkhead` runs the command on it, behind the words of `prefix`."""

    def __init__(
        self, folder: Path, ports: list[int], settings: Sequence[str], prefix: Sequence[str] = ()
    ) -> None:
        self.ports = ports
        self.home = Home(folder)
        self.prefix = list(prefix)  # what runs the command, and with it the stack
        self.expected_alerts = r"(?!)"  # what nginx may log as [alert]: by default nothing
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.settings = [
            f"stack.home={folder}",
            "stack.name=test",
            f"proxy.listen=127.0.0.1:{ports[0]}",
            f"services.api.port={ports[1]}",
            f"services.web.port={ports[100]}",
            *settings,
        ]

    def bulkhead(
        self,
        *words: str,
        check: bool = True,
        session: bool = False,
        out: int = subprocess.PIPE,
        prefix: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run `bulkhead WORDS` behind those of `prefix`; with `check` a failure is the test's."""
        done = subprocess.run(
            [*self.prefix, *prefix, sys.executable, "-m", "bulkhead.cli", *words],
            cwd=ROOT,
            env={**os.environ, "BULKHEAD_SET": " ".join(self.settings)},
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            timeout=100,
            start_new_session=session,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    @property
    def supervisord(self) -> int:
        """The pid of its supervisord."""
        return int((self.home.run / "supervisord.pid").read_text())

    def assert_nothing_left(self, members: list[proc.Process]) -> None:
        """No process, no socket, no port, and nothing in nginx's log that must never be there."""
        assert [member for member in members if proc.alive(member)] == []
        assert [path for path in self.home.run.rglob("*") if path.is_socket()] == []
        assert [port for port in self.ports if not is_free(port)] == []
        log = self.home.log / "nginx.error.log"
        lines = log.read_text().splitlines() if log.exists() else []
        bad = [line for line in lines if "[alert]" in line or "[emerg]" in line]
        assert [line for line in bad if not re.search(self.expected_alerts, line)] == []

    @classmethod
    @contextmanager
    def new(cls, folder: Path, settings: Sequence[str] = ()) -> Iterator[Self]:
        """A stack that is not up yet. At the end it is brought down and must have left nothing."""
        with free_ports() as ports:
            stack = cls(folder, ports, settings)
            try:
                yield stack
            finally:
                running = record.read(stack.home)
                members = running.members() if running else []
                stack.bulkhead("down")
            stack.assert_nothing_left(members)

    @classmethod
    @contextmanager
    def running(cls, folder: Path, settings: Sequence[str] = ()) -> Iterator[Self]:
        """A stack that is up."""
        with cls.new(folder, settings) as stack:
            stack.bulkhead("up")
            yield stack
