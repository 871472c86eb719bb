"""A real stack in a folder and on ports of its own, and what only tests need beside it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bulkhead.testing import ROOT, Stack, new_stack, running_stack

__all__ = ["ECHO", "ROOT", "Stack", "new_stack", "running_stack", "unread"]

# Both services as the smallest that can run: for tests of the proxy and of supervision alone.
ECHO = (
    "services.api.app=tests.support.echo",
    "services.web.app=tests.support.echo",
    "services.web.kind=tornado",
    "services.web.workers=1",
)


@contextmanager
def unread() -> Iterator[int]:
    """Where to write: a pipe whose reader has gone, as `| head -1` leaves it."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)
