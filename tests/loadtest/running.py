"""Runs Locust as a user would: as a process. Importing it here would patch pytest's own sockets."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bulkhead.records import ClientRow, read_rows

LOCUSTFILE = "loadtest/locustfile.py"
STEPS = "tests/loadtest/steps_locustfile.py"
SLOW = "tests/loadtest/slow_locustfile.py"


def command(locustfile: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", locustfile, *arguments]


def environment(rows: Path | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without any setting of Locust or the load test but `more`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BULKHEAD_", "LOCUST_"))}
    return kept | ({"BULKHEAD_CLIENT_ROWS": str(rows)} if rows else {}) | dict(more or {})


def locust(
    locustfile: str,
    *arguments: str,
    rows: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run it headless to its end."""
    return subprocess.run(
        command(locustfile, "--headless", "--only-summary", *arguments),
        env=environment(rows, env),
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def client_rows(path: Path) -> list[ClientRow]:
    return list(read_rows(path, ClientRow))
