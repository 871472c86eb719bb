"""However an open loop ends, every arrival that was planned until then has a row."""

import json
import re
import resource
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bulkhead.records import ClientRow
from bulkhead.testing import wait_until
from tests.loadtest import running
from tests.loadtest.misbehaving import Misbehaving
from tests.loadtest.stub import serving

pytestmark = pytest.mark.live

LIST = {"list": 1}


def numbers(rows: list[ClientRow]) -> list[int]:
    return sorted(int(row.id.partition("-")[2]) for row in rows)


@dataclass
class Load:
    """An open loop in a process of its own, against a server with a script."""

    locust: running.Running
    server: Misbehaving
    rows_file: Path

    @property
    def log(self) -> str:
        return self.locust.log

    def signal(self, number: signal.Signals) -> None:
        self.locust.process.send_signal(number)

    def ends(self) -> list[ClientRow]:
        """Its rows, complete, once it has ended well."""
        assert self.locust.end() == 0, self.log
        rows = running.client_rows(self.rows_file)
        assert numbers(rows) == list(range(1, len(rows) + 1))
        assert f"client rows: {len(rows)} in {self.rows_file}" in self.log
        assert self.server.counts() == Counter(row.id for row in rows if row.sent)
        return rows


@contextmanager
def loading(
    folder: Path, script: tuple[str, ...], *arguments: str, **settings: object
) -> Iterator[Load]:
    rows_file = folder / "client.jsonl"
    asked = {"arrivals": "constant", "rate": 50, "mix": LIST, **settings}
    with (
        Misbehaving(script) as server,
        running.started(
            *(running.OPEN, "--headless", "--only-summary", *arguments),
            rows=rows_file,
            settings=asked | {"proxy_url": server.url},
        ) as locust,
    ):
        yield Load(locust, server, rows_file)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_in_flight_finish(tmp_path: Path, end: signal.Signals) -> None:
    with loading(tmp_path, ("/late",)) as load:
        wait_until("requests in flight", lambda: len(load.server.seen) > 20)
        load.signal(end)
        rows = load.ends()
    assert {(row.status, row.error) for row in rows} == {(200, "")}


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_what_never_finishes_is_given_its_time_out_and_no_more(
    tmp_path: Path, end: signal.Signals
) -> None:
    with loading(tmp_path, ("/silent",), request_timeout_s=1, connections=10) as load:
        wait_until("all connections used", lambda: len(load.server.seen) == 10)
        load.signal(end)
        rows = load.ends()
    ends = Counter(row.error for row in rows)
    assert ends.keys() <= {"timeout", "unsent"}
    assert ends["timeout"] == 10


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_waits_for_nothing(tmp_path: Path, end: signal.Signals) -> None:
    with loading(tmp_path, ("/silent",), request_timeout_s=600) as load:
        wait_until("requests in flight", lambda: len(load.server.seen) > 10)
        load.signal(end)
        load.locust.wait_for_words("no more arrivals")
        load.signal(end)
        rows = load.ends()
    assert {row.error for row in rows} == {"stopped"}


def test_locusts_own_run_time_ends_it_the_same_way(tmp_path: Path) -> None:
    with loading(tmp_path, ("/late",), "-t", "1s") as load:
        rows = load.ends()
    assert {(row.status, row.error) for row in rows} == {(200, "")}


def test_an_impatient_stop_leaves_a_row_for_each_request_that_it_cuts_off(tmp_path: Path) -> None:
    with loading(tmp_path, ("/silent",), "-t", "3s", "-s", "0") as load:
        rows = load.ends()
    assert {row.error for row in rows if row.sent} == {"stopped"}
    # Locust's clock runs from its start: what became due in the last moment is not sent any more.
    assert {row.error for row in rows if not row.sent} <= {"unsent"}


def test_there_is_one_user_whatever_is_asked_for(tmp_path: Path) -> None:
    with loading(tmp_path, ("/ok",), "-u", "5", "-r", "5", load_s=1) as load:
        rows = load.ends()
    assert len(rows) == 50
    assert len({row.id.partition("-")[0] for row in rows}) == 1


def test_a_client_that_gives_up_hangs_up_and_others_come(tmp_path: Path) -> None:
    """Its own choice: no failure in Locust's figures either. Who is answered in time stays."""
    asked = {"give_up_s": 0.1, "load_s": 2, "connections": 40}
    with loading(tmp_path, ("/silent", "/ok"), **asked) as load:
        rows = load.ends()
    left = [row for row in rows if row.error]
    assert {row.error for row in left} == {"gave_up"}
    assert 0 < len(left) < len(rows)
    assert min(row.done - row.sent for row in left) > 0.1
    assert "no answer: gave_up" not in load.log
    last = {one.connection: one.id for one in load.server.seen}
    assert {row.id for row in left} <= set(last.values()), "such a connection is not used again"


def test_rows_reach_the_file_while_it_runs(tmp_path: Path) -> None:
    """So that SIGKILL, which nothing can answer, costs no more than the last moments."""
    with loading(tmp_path, ("/ok",)) as load:
        wait_until("rows", lambda: load.rows_file.exists() and load.rows_file.stat().st_size)
        load.signal(signal.SIGTERM)
        load.ends()


def test_missing_rows_end_the_process_with_code_3() -> None:
    """/dev/full refuses every write, as a full disk does."""
    with Misbehaving(("/ok",)) as server:
        asked = {"proxy_url": server.url, "load_s": 1, "rate": 20, "arrivals": "constant"}
        done = running.locust(running.OPEN, rows=Path("/dev/full"), settings=asked)
    assert "client rows: 20 arrivals planned, 0 rows written: rows are missing" in done.stderr
    assert "No space left on device" in done.stderr
    assert done.returncode == 3


def test_an_error_of_the_load_itself_ends_it_at_once_and_is_not_hidden(tmp_path: Path) -> None:
    with serving() as stub:
        env = {"BULKHEAD_TEST_CONTENT": "riddle"}
        env["BULKHEAD_TEST_STEPS"] = json.dumps([("GET", "/about")] * 100)
        rows_file = tmp_path / "client.jsonl"
        asked = {"proxy_url": stub.url}
        done = running.locust(running.OPEN_STEPS, rows=rows_file, settings=asked, env=env)
    assert "the open loop broke" in done.stderr
    assert "KeyError: 'riddle'" in done.stderr
    assert "rows are missing" in done.stderr
    assert done.returncode == 3
    assert len(stub.ids) < 100


def test_what_the_load_itself_runs_out_of_breaks_it_and_blames_nobody(tmp_path: Path) -> None:
    """It may open no more files, so no more connections: that says nothing about the server."""
    with loading(tmp_path, ("/silent",), request_timeout_s=600) as load:
        wait_until("requests in flight", lambda: len(load.server.seen) > 10)
        resource.prlimit(load.locust.process.pid, resource.RLIMIT_NOFILE, (10, 10))
        assert load.locust.end() == 1, load.log
    assert "the open loop broke" in load.log
    assert "Too many open files" in load.log
    rows = running.client_rows(load.rows_file)
    assert numbers(rows) == list(range(1, len(rows) + 1))
    assert {row.error for row in rows} <= {"stopped", "unsent"}


def test_a_file_that_cannot_be_opened_ends_it_before_any_request(tmp_path: Path) -> None:
    rows_file = tmp_path / "no such folder" / "client.jsonl"
    with Misbehaving(("/ok",)) as server:
        asked = {"proxy_url": server.url, "load_s": 1}
        done = running.locust(running.OPEN, rows=rows_file, settings=asked)
    assert done.returncode == 1
    assert str(rows_file) in done.stderr
    assert server.seen == []


def test_locust_counts_and_blames_the_same_as_the_rows(tmp_path: Path) -> None:
    with loading(
        tmp_path, ("/not-found", "/reset", "/ok"), load_s=1, mix={"list": 1, "post": 1}
    ) as load:
        rows = load.ends()
    counted = re.findall(r"^(\w+) +(\S+) +(\d+) +(\d+)\(", load.log, re.MULTILINE)
    assert {f"{method} {name}": int(count) for method, name, count, _ in counted} == Counter(
        row.name for row in rows
    )
    assert sum(int(failed) for *_, failed in counted) == len(rows), "none was as it should be"
    blamed = re.findall(r"^(\d+) +(\w+ \S+: .*\S) *$", load.log, re.MULTILINE)
    assert {what: int(count) for count, what in blamed} == Counter(
        f"{row.name}: {row.wrong or f'no answer: {row.error}'}" for row in rows
    )


def test_locusts_response_times_are_the_latencies_from_the_planned_moments(tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    asked = {"load_s": 0.5, "connections": 2}
    with loading(tmp_path, ("/ok", "/late"), "--json-file", str(figures), **asked) as load:
        rows = load.ends()
    (told,) = json.loads(figures.with_suffix(".json").read_text())
    latencies_ms = [1000 * (row.done - row.planned) for row in rows]
    assert told["num_requests"] == len(rows)
    assert told["total_response_time"] == pytest.approx(sum(latencies_ms))
    assert told["max_response_time"] == pytest.approx(max(latencies_ms))
    assert told["min_response_time"] == pytest.approx(min(latencies_ms))
    assert sum(told["response_times"].values()) == len(rows)
    assert sum(told["num_reqs_per_sec"].values()) == len(rows)


def test_a_locust_that_would_fork_is_refused_before_it_does() -> None:
    done = running.locust(running.OPEN, "--processes", "2", settings={"load_s": 1})
    assert done.stderr == (
        "loadtest/openloop.py: --processes 2: start --master and each --worker by itself\n"
    )
    assert done.returncode == 1


def test_a_host_that_is_not_this_machine_is_refused(tmp_path: Path) -> None:
    with serving() as stub:
        rows_file = tmp_path / "client.jsonl"
        done = running.locust(running.OPEN, "-H", "http://192.0.2.1", "-t", "5s", rows=rows_file)
        assert stub.ids == []
    assert "host = 'http://192.0.2.1': must be http://HOST" in done.stderr
    assert rows_file.stat().st_size == 0
    assert done.returncode == 1
