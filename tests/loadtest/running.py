"""Runs Locust as a user would: as a process. Importing it here would patch pytest's own sockets."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bulkhead.records import ClientRow, read_rows
from bulkhead.testing import wait_until

LOCUSTFILE = "loadtest/locustfile.py"
STEPS = "tests/loadtest/steps_locustfile.py"
OPEN = "loadtest/openloop.py"
OPEN_STEPS = "tests/loadtest/open_steps_locustfile.py"
SLOW = "tests/loadtest/slow_locustfile.py"
BOOT_S = 40  # on a machine that is busy with other things


def command(locustfile: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", locustfile, *arguments]


def environment(file: Path, settings: Mapping[str, object]) -> dict[str, str]:
    """This process's environment without any setting of Locust or the load test but `settings`.

    These go to `file`. They ask the load to end with this process, whatever becomes of the test.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BULKHEAD_", "LOCUST_"))}
    file.write_text(json.dumps({"parent_pid": os.getpid(), **settings}, default=str))
    return kept | {"BULKHEAD_LOAD_SETTINGS": str(file)}


def locust(
    locustfile: str,
    *arguments: str,
    rows: Path | None = None,
    settings: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run it headless to its end; `env` are further variables."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {"rows": rows, **(settings or {})}
        return subprocess.run(
            command(locustfile, "--headless", "--only-summary", *arguments),
            env=environment(Path(folder) / "settings.json", asked) | dict(env or {}),
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
def started(
    locustfile: str,
    *arguments: str,
    rows: Path,
    settings: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """It has booted, and is killed in the end if it still runs: then something went wrong before.

    That it has booted is seen by its rows file.
    """
    log_file = rows.with_name("locust.log")
    asked = environment(rows.with_name("settings.json"), {"rows": rows, **(settings or {})})
    with (
        log_file.open("wb") as log,
        subprocess.Popen(
            command(locustfile, *arguments),
            env=asked | dict(env or {}),
            stdout=subprocess.DEVNULL,
            stderr=log,
        ) as process,
    ):

        def booted() -> bool:
            return rows.exists() or process.poll() is not None

        try:
            wait_until("Locust's boot", booted, BOOT_S)
            assert rows.exists(), log_file.read_text()
            yield Running(process, log_file)
        finally:
            process.kill()


def open_loop(url: str, folder: Path, **settings: object) -> list[ClientRow]:
    """The rows of an open loop that ran to its end, which was a good one."""
    rows_file = folder / "client.jsonl"
    asked = {"proxy_url": url, "arrivals": "constant", **settings}
    done = locust(OPEN, rows=rows_file, settings=asked)
    assert done.returncode == 0, done.stderr
    return client_rows(rows_file)
