"""Locust's master and workers, started by hand as a container starts them: with one file."""

import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from bulkhead.records import ClientRow, RowsEnd
from bulkhead.testing import free_ports, wait_until
from loadtest.schedule import schedule
from tests.loadtest import running
from tests.loadtest.misbehaving import Misbehaving
from tests.loadtest.stub import serving

pytestmark = pytest.mark.live

RATE, LOAD_S = 90, 2


@dataclass
class Processes:
    """A master and its workers, and the folder where each has its log and its rows."""

    folder: Path
    master: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]

    def ended(self) -> list[int]:
        """The exit codes of the master and of all workers."""
        return [process.wait(30) for process in (self.master, *self.workers)]

    def log(self, name: str = "master") -> str:
        return (self.folder / f"{name}.log").read_text()

    def rows(self) -> dict[str, list[ClientRow]]:
        files = sorted(self.folder.glob("client-*.jsonl"))
        return {path.name: running.client_rows(path) for path in files}

    def ends(self) -> dict[str, RowsEnd]:
        files = sorted(self.folder.glob("client-*.jsonl.end"))
        return {path.stem: msgspec.json.decode(path.read_bytes(), type=RowsEnd) for path in files}


@contextmanager
def started(
    locustfile: str, folder: Path, number: int, url: str, *options: str, **settings: object
) -> Iterator[Processes]:
    """What still runs in the end is killed: then something went wrong before."""
    asked = {"proxy_url": url, "rows": folder / "client-{worker}.jsonl", **settings}
    env = running.environment(folder / "settings.json", asked)
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str, *words: str) -> None:
        with (folder / f"{name}.log").open("wb") as log:
            command = running.command(locustfile, *words)
            processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))

    with free_ports() as ports:
        port = str(ports[0])
        try:
            start(
                *("master", "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port"),
                *(port, "--expect-workers", str(number), "--headless", "--only-summary", *options),
            )
            for worker in range(number):
                start(
                    f"worker-{worker}", "--worker", "--master-host", "127.0.0.1",
                    "--master-port", port,
                )  # fmt: skip
            yield Processes(folder, processes[0], processes[1:])
        finally:
            for process in processes:
                process.kill()
                process.wait()


def test_workers_of_an_open_loop_send_one_schedule_together(tmp_path: Path) -> None:
    asked = {"rate": RATE, "load_s": LOAD_S, "arrivals": "poisson"}
    with (
        serving() as stub,
        started(running.OPEN, tmp_path, 3, stub.url, "-u", "1", **asked) as locust,
    ):
        assert locust.ended() == [0, 0, 0, 0], locust.log()
        by_file = locust.rows()
        ends = locust.ends()
    assert list(by_file) == ["client-0.jsonl", "client-1.jsonl", "client-2.jsonl"]
    assert ends == {name: RowsEnd(len(rows)) for name, rows in by_file.items()}
    rows = [row for rows in by_file.values() for row in rows]
    assert f"client rows: {len(rows)} in" in locust.log()
    assert Counter(stub.ids) == Counter(row.id for row in rows), "each once, of all workers"
    keys = [row.key for row in rows if row.key]
    assert len(set(keys)) == len(keys) > 0
    created = [row.entry for row in rows if row.effect == "create"]
    assert len(set(created)) == len(created) > 0

    numbered = {int(row.id.partition("-")[2]): row.planned for row in rows}
    assert sorted(numbered) == list(range(1, len(rows) + 1))
    planned = [numbered[number] for number in sorted(numbered)]
    moments = list(islice(schedule("poisson", RATE, 1), len(rows) + 1))
    assert moments[-2] < LOAD_S <= moments[-1], "no more and no fewer than one process"
    began = planned[0] - moments[0]
    assert planned == pytest.approx([began + moment for moment in moments[:-1]], abs=1e-6)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_master_ends_all_in_an_orderly_way(
    tmp_path: Path, end: signal.Signals
) -> None:
    asked = {"rate": RATE, "mix": {"list": 1}}
    with (
        Misbehaving(("/late",)) as server,
        started(running.OPEN, tmp_path, 2, server.url, **asked) as locust,
    ):
        wait_until("requests", lambda: len(server.seen) > RATE, running.BOOT_S)
        locust.master.send_signal(end)
        assert locust.ended() == [0, 0, 0], locust.log()
        rows = [row for rows in locust.rows().values() for row in rows]
        assert server.counts() == Counter(row.id for row in rows)
    assert {(row.status, row.error) for row in rows} == {(200, "")}
    assert [end.early for end in locust.ends().values()] == [False, False]


@pytest.mark.parametrize("locustfile", [running.OPEN, running.LOCUSTFILE])
def test_the_master_names_a_worker_that_was_killed(tmp_path: Path, locustfile: str) -> None:
    asked = {"rate": RATE} if locustfile == running.OPEN else {}
    with (
        serving() as stub,
        started(locustfile, tmp_path, 2, stub.url, "-u", "4", "-r", "4", **asked) as locust,
    ):
        wait_until("requests", lambda: len(stub.ids) > 50, running.BOOT_S)
        killed = locust.workers[0]
        killed.kill()
        locust.master.send_signal(signal.SIGTERM)
        assert locust.ended()[0] == 3, locust.log()
        whole = locust.ends()
        missing = {"client-0.jsonl", "client-1.jsonl"} - whole.keys()
        assert len(whole) == len(missing) == 1
    (name,) = missing
    number = name.removeprefix("client-").removesuffix(".jsonl")
    assert f"client rows: worker {number} has not told its rows" in locust.log()


def test_a_worker_that_leaves_early_says_so(tmp_path: Path) -> None:
    with (
        serving() as stub,
        started(running.LOCUSTFILE, tmp_path, 2, stub.url, "-u", "4", "-r", "4") as locust,
    ):
        wait_until("requests", lambda: len(stub.ids) > 50, running.BOOT_S)
        locust.workers[0].terminate()
        assert locust.workers[0].wait(30) == 0
        locust.master.send_signal(signal.SIGTERM)
        locust.ended()
    assert sorted(end.early for end in locust.ends().values()) == [False, True]


def test_a_worker_does_not_continue_the_rows_of_another_load(tmp_path: Path) -> None:
    (tmp_path / "client-0.jsonl").touch()
    with (
        serving() as stub,
        started(running.LOCUSTFILE, tmp_path, 1, stub.url, "-t", "1s") as locust,
    ):
        assert locust.workers[0].wait(30) == 1
        assert stub.ids == []
    assert "client-0.jsonl is there already" in locust.log("worker-0")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--master", "--web-port", "0"), "--master: needs --headless"),
        (
            ("--master", "--headless", "--expect-workers", "6"),
            "--expect-workers 6: must be at most the setting connections, which is 5",
        ),
    ],
)
def test_a_master_that_cannot_deal_out_the_schedule_is_refused(
    words: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    with free_ports() as ports:
        port = ("--master-bind-host", "127.0.0.1", "--master-bind-port", str(ports[0]))
        done = subprocess.run(
            running.command(running.OPEN, *words, *port),
            env=running.environment(tmp_path / "settings.json", {"connections": 5}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"loadtest/openloop.py: {complaint}" in done.stderr
