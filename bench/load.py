"""The open-loop load: the project's own client as a subprocess, and every row that it wrote.

It sends each request exactly once and measures from the planned moment: a proxy that hangs gets the
same load as one that does not, and what waits because of it counts.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.processes import Program, started
from bulkhead.records import ClientRow, read_rows
from tests.support.waiting import wait_until

RATE = 300  # per second: well below what two cores can do, so that only the faults make it late
TIMEOUT_S = 25  # without an answer by then, a request has failed
CONNECTIONS = 5000  # the most in flight: all that a hang of 15 s can keep
MIX = {"get": 70, "post_keyed": 30}  # harmless to repeat, all of it
BOOT_S = 30
CHECKOUT = Path(__file__).parents[1]


class Load:
    """A load that runs; `rows` is where its rows go, `seconds` how long it sends."""

    def __init__(self, rows: Path, program: Program, seconds: float) -> None:
        self._rows = rows
        self._program = program
        self._seconds = seconds

    def wait_until_under_way(self) -> None:
        """Wait for the first answers."""
        rows = self._rows
        wait_until("the first row", lambda: rows.exists() and rows.stat().st_size > 0, BOOT_S)

    def finish(self) -> list[ClientRow]:
        """Wait for the end of the schedule and of the last request; all rows, in no order."""
        code = self._program.wait(self._seconds + TIMEOUT_S + BOOT_S)
        assert code == 0, f"the load ended with exit code {code}"
        return list(read_rows(self._rows, ClientRow))


@contextmanager
def open_loop(url: str, rows: Path, seconds: float, rate: float = RATE) -> Iterator[Load]:
    """Send `rate` requests per second to `url` for `seconds`."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("LOCUST_")}
    asked = {
        "BULKHEAD_PARENT_PID": str(os.getpid()),  # it ends when we are killed
        "BULKHEAD_CLIENT_ROWS": str(rows),
        "BULKHEAD_RATE": f"{rate:g}",
        "BULKHEAD_MIX": json.dumps(MIX),
        "BULKHEAD_REQUEST_TIMEOUT_S": str(TIMEOUT_S),
        "BULKHEAD_CONNECTIONS": str(CONNECTIONS),
        "BULKHEAD_LOAD_S": f"{seconds:g}",
    }
    options = ["--headless", "--only-summary", "--users", "1", "--host", url]
    command = [sys.executable, "-m", "locust", "-f", "loadtest/openloop.py", *options]
    log = rows.with_suffix(".log")
    with started(command, log, own | asked, CHECKOUT) as program:
        yield Load(rows, program, seconds)
