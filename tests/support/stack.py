"""A real stack in a folder and on ports of its own, driven by the real command."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bulkhead.control import process, record
from bulkhead.render.paths import Home
from tests.support.http import Answer, request
from tests.support.ports import free_ports, is_free

ROOT = Path(__file__).parents[2]

# Both services as the smallest that can run: for tests of the proxy and of supervision alone.
ECHO = (
    "services.api.app=tests.support.echo",
    "services.web.app=tests.support.echo",
    "services.web.kind=tornado",
    "services.web.workers=1",
)


class Stack:
    """One stack's settings; `bulkhead` runs the command on it."""

    def __init__(self, folder: Path, ports: list[int], settings: Sequence[str]) -> None:
        self.ports = ports
        self.home = Home(folder)
        self.expected_alerts = r"(?!)"  # what nginx may log as [alert]: by default nothing
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.settings = [
            f"stack.home={folder}",
            "stack.name=test",
            f"proxy.listen=127.0.0.1:{ports[0]}",
            f"services.api.port={ports[1]}",
            f"services.web.port={ports[21]}",
            *settings,
        ]

    def bulkhead(
        self,
        *words: str,
        check: bool = True,
        session: bool = False,
        out: int = subprocess.PIPE,
    ) -> subprocess.CompletedProcess[str]:
        """Run `bulkhead WORDS`, in a session of its own or in ours.

        With `check` its failure is the test's.
        """
        done = subprocess.run(
            [sys.executable, "-m", "bulkhead.cli", *words],
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

    def status(self) -> dict[str, dict[str, Any]]:
        """`status --json`, each process under its name."""
        done = self.bulkhead("status", "--json", check=False)
        assert done.returncode in (0, 1), done.stderr
        return {one["name"]: one for one in json.loads(done.stdout)["processes"]}

    def get(self, target: str, **options: Any) -> Answer:
        """GET through the public listener."""
        return request(self.url, "GET", target, **options)

    def request(self, method: str, target: str, **options: Any) -> Answer:
        """Any request through the public listener."""
        return request(self.url, method, target, **options)

    def assert_nothing_left(self, members: list[process.Process]) -> None:
        """No process, no socket, no port, and nothing in nginx's log that must never be there."""
        assert [one for one in members if process.alive(one)] == []
        assert [path for path in self.home.run.rglob("*") if path.is_socket()] == []
        assert [port for port in self.ports if not is_free(port)] == []
        log = self.home.log / "nginx.error.log"
        lines = log.read_text().splitlines() if log.exists() else []
        bad = [line for line in lines if "[alert]" in line or "[emerg]" in line]
        assert [line for line in bad if not re.search(self.expected_alerts, line)] == []


@contextmanager
def unread() -> Iterator[int]:
    """Where to write: a pipe whose reader has gone, as `| head -1` leaves it."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@contextmanager
def new_stack(folder: Path, settings: Sequence[str] = ()) -> Iterator[Stack]:
    """A stack that is not up yet. At the end it is brought down and must have left nothing."""
    with free_ports() as ports:
        stack = Stack(folder, ports, settings)
        try:
            yield stack
        finally:
            found = record.read(stack.home)
            members = found.members() if found else []
            stack.bulkhead("down")
        stack.assert_nothing_left(members)


@contextmanager
def running_stack(folder: Path, settings: Sequence[str] = ()) -> Iterator[Stack]:
    """A stack that is up."""
    with new_stack(folder, settings) as stack:
        stack.bulkhead("up")
        yield stack
