"""A real stack in a folder and on ports of its own, and what only tests need beside it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bulkhead import testing
from bulkhead.testing import ROOT
from tests.support.http import Answer, request

__all__ = ["ECHO", "ROOT", "Stack", "new_stack", "running_stack", "unread"]

# Both services as the smallest that can run: for tests of the proxy and of supervision alone.
ECHO = (
    "services.api.app=tests.support.echo",
    "services.web.app=tests.support.echo",
    "services.web.kind=tornado",
    "services.web.workers=1",
)


class Stack(testing.Stack):
    """A stack that a test asks."""

    def status(self) -> dict[str, dict[str, Any]]:
        """`status --json`, each process under its name."""
        done = self.bulkhead("status", "--json", check=False)
        assert done.returncode in (0, 1), done.stderr
        return {program["name"]: program for program in json.loads(done.stdout)["processes"]}

    def get(self, target: str, **options: Any) -> Answer:
        """GET through the public listener."""
        return request(self.url, "GET", target, **options)

    def request(self, method: str, target: str, **options: Any) -> Answer:
        """Any request through the public listener."""
        return request(self.url, method, target, **options)


new_stack, running_stack = Stack.new, Stack.running


@contextmanager
def unread() -> Iterator[int]:
    """Where to write: a pipe whose reader has gone, as `| head -1` leaves it."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)
