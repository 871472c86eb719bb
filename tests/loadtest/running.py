"""Runs Locust as a user would: as a process. Importing it here would patch pytest's own sockets."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bulkhead.records import ClientRow, read_rows
from tests.support.waiting import wait_until

LOCUSTFILE = "loadtest/locustfile.py"
STEPS = "tests/loadtest/steps_locustfile.py"
OPEN = "loadtest/openloop.py"
OPEN_STEPS = "tests/loadtest/open_steps_locustfile.py"
SLOW = "tests/loadtest/slow_locustfile.py"
BOOT_S = 40  # on a machine that is busy with other things


def command(locustfile: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", locustfile, *arguments]


def environment(rows: Path | None, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without any setting of Locust or the load test but `more`.

    It asks the load to end with this process, whatever becomes of the test.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BULKHEAD_", "LOCUST_"))}
    kept["BULKHEAD_PARENT_PID"] = str(os.getpid())
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
        timeout=BOOT_S + 20,
        check=False,
    )


def client_rows(path: Path) -> list[ClientRow]:
    return list(read_rows(path, ClientRow))


@dataclass
class Running:
    """A Locust that has booted, and the file with what it says."""

    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def wait_for_words(self, words: str) -> None:
        wait_until(words, lambda: words in self.log)

    def end(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(30)


@contextmanager
def started(locustfile: str, *arguments: str, env: Mapping[str, str]) -> Iterator[Running]:
    """It has booted, and is killed in the end if it still runs: then something went wrong before.

    That it has booted is seen by its rows file.
    """
    rows_file = Path(env["BULKHEAD_CLIENT_ROWS"])
    log_file = rows_file.with_name("locust.log")
    with (
        log_file.open("wb") as log,
        subprocess.Popen(
            command(locustfile, *arguments), env=env, stdout=subprocess.DEVNULL, stderr=log
        ) as process,
    ):

        def booted() -> bool:
            return rows_file.exists() or process.poll() is not None

        try:
            wait_until("Locust's boot", booted, BOOT_S)
            assert rows_file.exists(), log_file.read_text()
            yield Running(process, log_file)
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
