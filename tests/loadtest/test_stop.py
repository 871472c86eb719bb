"""However a load test ends, every request that was sent has a row."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from bulkhead.testing import free_ports, wait_until
from tests.loadtest import running
from tests.loadtest.misbehaving import Misbehaving
from tests.loadtest.stub import serving

pytestmark = pytest.mark.live

USERS = 10


def test_a_stop_that_cuts_off_leaves_a_row_for_each_request(tmp_path: Path) -> None:
    rows_file = tmp_path / "client.jsonl"
    with Misbehaving() as server:
        done = running.locust(
            running.SLOW, "Hanging", *load(server, "0"), "-t", "1s", rows=rows_file
        )
        assert_each_user_was_cut_off(server, rows_file)
    assert f"{USERS} told to Locust, {USERS} cut off by the stop" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_all_rows(tmp_path: Path, end: signal.Signals) -> None:
    rows_file = tmp_path / "client.jsonl"
    with (
        Misbehaving() as server,
        running.started(
            *(running.SLOW, "Hanging", "--headless", *load(server, "0")),
            rows=rows_file,
        ) as locust,
    ):
        wait_until("a hanging request of each user", lambda: len(server.seen) == 2 * USERS)
        locust.process.send_signal(end)
        assert locust.end() == 0, locust.log
        assert_each_user_was_cut_off(server, rows_file)
    assert f"{USERS} told to Locust, {USERS} cut off by the stop" in locust.log


def test_ctrl_c_strikes_no_user_in_the_middle_of_its_bookkeeping(tmp_path: Path) -> None:
    """Users that never pause: a signal that raised where it came would end one of them half-way."""
    rows_file = tmp_path / "client.jsonl"
    with (
        serving() as stub,
        running.started(
            *(running.LOCUSTFILE, "--headless", "-u", "30", "-r", "30"),
            rows=rows_file,
            settings={"proxy_url": stub.url, "pace": 0},
        ) as locust,
    ):
        wait_until("rows", lambda: rows_file.exists() and rows_file.stat().st_size > 50_000)
        locust.process.send_signal(signal.SIGINT)
        assert locust.end() == 0, locust.log
        assert Counter(stub.ids) == Counter(row.id for row in running.client_rows(rows_file))
    assert "0 cut off by the stop" in locust.log


def assert_each_user_was_cut_off(server: Misbehaving, rows_file: Path) -> None:
    rows = running.client_rows(rows_file)
    assert server.counts() == Counter(row.id for row in rows)
    assert Counter((row.target, row.status, row.error) for row in rows) == {
        ("/ok", 200, ""): USERS,
        ("/silent", 0, "stopped"): USERS,
    }


def test_a_patient_stop_cuts_nothing_off(tmp_path: Path) -> None:
    rows_file = tmp_path / "client.jsonl"
    with Misbehaving() as server:
        done = running.locust(running.SLOW, "Slow", *load(server, "5"), "-t", "1s", rows=rows_file)
    rows = running.client_rows(rows_file)
    assert server.counts() == Counter(row.id for row in rows)
    assert {row.status for row in rows} == {200}
    assert done.returncode == 0


def test_worker_processes_share_the_file_and_the_master_adds_up(tmp_path: Path) -> None:
    rows_file = tmp_path / "client.jsonl"
    with Misbehaving() as server, free_ports() as ports:
        done = running.locust(
            running.SLOW,
            *("Slow", *load(server, "5"), "-t", "1s", *workers(ports[0])),
            rows=rows_file,
        )
    rows = running.client_rows(rows_file)
    assert server.counts() == Counter(row.id for row in rows)
    assert len({row.id.partition("-")[0] for row in rows}) == USERS
    assert done.stderr.count("client rows:") == 1
    assert f"client rows: {len(rows)} in {rows_file} ({len(rows)} told to Locust, 0" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("processes", [1, 2])
def test_missing_rows_end_the_process_with_code_3(processes: int) -> None:
    """/dev/full refuses every write, as a full disk does."""
    with Misbehaving() as server, free_ports() as ports:
        more = workers(ports[0]) if processes > 1 else ()
        done = running.locust(
            running.SLOW,
            *("Slow", *load(server, "5"), "-t", "1s", *more),
            rows=Path("/dev/full"),
        )
    lines = [line for line in done.stderr.splitlines() if line.startswith("client rows:")]
    assert lines
    assert "0 rows written" in lines[-1]
    assert lines[-1].endswith("evidence is invalid") or "No space left on device" in lines[-1]
    assert done.returncode == 3, done.stderr


def test_a_file_that_cannot_be_opened_ends_it_before_any_request(tmp_path: Path) -> None:
    with Misbehaving() as server:
        rows_file = tmp_path / "no such folder" / "client.jsonl"
        done = running.locust(running.SLOW, "-t", "1s", "-H", server.url, rows=rows_file)
    assert done.returncode == 1
    assert str(rows_file) in done.stderr
    assert server.seen == []


def load(server: Misbehaving, stop_timeout_s: str) -> tuple[str, ...]:
    return ("-u", str(USERS), "-r", str(USERS), "-s", stop_timeout_s, "-H", server.url)


def workers(port: int) -> tuple[str, ...]:
    return ("--processes", "2", "--master-bind-port", str(port), "--master-port", str(port))
