"""Runs Locust as a user would: as a process. Importing it here would patch pytest's own sockets."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bulkhead.records import ClientRow, read_rows

LOCUSTFILE = "loadtest/locustfile.py"
STEPS = "tests/loadtest/steps_locustfile.py"
OPEN = "loadtest/openloop.py"
OPEN_STEPS = "tests/loadtest/open_steps_locustfile.py"
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


@contextmanager
def started(
    locustfile: str, *arguments: str, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """It runs, and is killed in the end if it still does: then something went wrong before."""
    with subprocess.Popen(
        command(locustfile, *arguments),
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def open_environment(url: str, rows: Path, **settings: object) -> dict[str, str]:
    """The environment of an open loop, `settings` without their common prefix."""
    asked = {f"BULKHEAD_{name}": str(value) for name, value in settings.items()}
    return environment(rows, {"BULKHEAD_PROXY_URL": url, "BULKHEAD_ARRIVALS": "constant"} | asked)


def open_loop(url: str, folder: Path, **settings: object) -> list[ClientRow]:
    """The rows of an open loop that ran to its end, which was a good one."""
    rows_file = folder / "client.jsonl"
    env = open_environment(url, rows_file, **settings)
    done = locust(OPEN, rows=rows_file, env={k: v for k, v in env.items() if k[:8] == "BULKHEAD"})
    assert done.returncode == 0, done.stderr
    return client_rows(rows_file)
