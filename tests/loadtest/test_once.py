"""Each request goes out exactly once, also where stock clients silently send it again."""

import json
from collections import Counter
from pathlib import Path

import pytest

from bulkhead.records import ClientRow
from tests.loadtest import running
from tests.loadtest.misbehaving import Misbehaving, not_accepting, refusing

pytestmark = pytest.mark.live

METHODS = ("GET", "POST", "PUT", "DELETE")


def steps_that_tempt(url: str) -> list[tuple[str, str, float]]:
    """For each method: a reset and a close of a fresh and of a kept-alive connection, and a
    request after the server has closed the idle connection."""
    steps: list[tuple[str, str, float]] = []
    for method in METHODS:
        steps += [(method, f"{url}/reset", 0), ("GET", f"{url}/ok", 0)]
        steps += [(method, f"{url}/reset", 0), ("GET", f"{url}/ok", 0)]
        steps += [(method, f"{url}/close", 0), ("GET", f"{url}/idle", 0.1)]
        steps += [(method, f"{url}/ok", 0)]
    return steps


def test_each_request_is_seen_exactly_once(tmp_path: Path) -> None:
    rows_file = tmp_path / "client.jsonl"
    with Misbehaving() as server:
        steps = steps_that_tempt(server.url)
        done = running.locust(
            running.STEPS,
            "Once",
            rows=rows_file,
            env={"BULKHEAD_TEST_STEPS": json.dumps(steps)},
        )
    rows = running.client_rows(rows_file)
    assert [row.method for row in rows] == [method for method, _, _ in steps], done.stderr
    assert server.counts() == Counter(row.id for row in rows)
    assert [request.id for request in server.seen] == [row.id for row in rows]
    ends = Counter((row.target, row.status, row.error) for row in rows)
    assert ends == {
        ("/reset", 0, "reset"): 8,
        ("/close", 0, "closed"): 4,
        ("/ok", 200, ""): 12,
        ("/idle", 200, ""): 4,
    }
    assert f"client rows: {len(rows)} in {rows_file} ({len(rows)} told to Locust" in done.stderr


def test_a_connection_is_kept_and_one_that_was_closed_while_idle_is_replaced(
    tmp_path: Path,
) -> None:
    with Misbehaving() as server:
        paths = ("ok", "ok", "idle", "ok", "ok-and-close", "ok")
        steps = [("GET", f"{server.url}/{path}", 0.1) for path in paths]
        env = {"BULKHEAD_TEST_STEPS": json.dumps(steps)}
        rows_file = tmp_path / "client.jsonl"
        done = running.locust(running.STEPS, "Once", rows=rows_file, env=env)
    assert done.returncode == 0, done.stderr
    assert [request.connection for request in server.seen] == [1, 1, 1, 2, 2, 3]
    assert [row.error for row in running.client_rows(rows_file)] == [""] * 6


def test_stock_fast_http_user_sends_again_there() -> None:
    """The control: the same steps, the same server, Locust's own client."""
    with Misbehaving() as server:
        env = {"BULKHEAD_TEST_STEPS": json.dumps(steps_that_tempt(server.url))}
        running.locust(running.STEPS, "Stock", env=env)
    counts = server.counts()
    most = {
        method: max(
            counts[request.id]
            for request in server.seen
            if request.method == method and request.path == "/reset"
        )
        for method in METHODS
    }
    assert most["POST"] == 1
    assert min(most["GET"], most["PUT"], most["DELETE"]) > 1


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("ok", 200, ""),
        ("ok-and-close", 200, ""),
        ("interim", 200, ""),
        ("not-found", 404, ""),
        ("reset", 0, "reset"),
        ("close", 0, "closed"),
        ("short", 0, "closed"),
        ("short-head", 0, "closed"),
        ("short-chunks", 0, "closed"),
        ("silent", 0, "timeout"),
        ("trickle", 0, "timeout"),
        ("garbage", 0, "other"),
        ("two-answers", 0, "other"),
    ],
)
def test_an_end_has_its_class(
    ends: dict[str, ClientRow], path: str, status: int, error: str
) -> None:
    assert (ends[path].status, ends[path].error) == (status, error)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClientRow]:
    """The row of one request for each behaviour of the server, all of one run."""
    rows_file = tmp_path_factory.mktemp("ends") / "client.jsonl"
    paths = "ok ok-and-close interim not-found reset close short short-head short-chunks silent"
    with Misbehaving() as server, refusing() as refused, not_accepting() as full:
        urls = [f"{server.url}/{p}" for p in (paths + " trickle garbage two-answers").split()]
        steps = [("GET", url, 0) for url in (*urls, f"{refused}/refused", f"{full}/full")]
        running.locust(
            running.STEPS,
            "Once",
            rows=rows_file,
            env={"BULKHEAD_TEST_STEPS": json.dumps(steps)},
        )
    rows = running.client_rows(rows_file)
    assert server.counts() == Counter(row.id for row in rows[:-2])
    assert all(row.planned == row.sent <= row.done < row.sent + 0.8 for row in rows)
    return {row.target[1:]: row for row in rows}


def test_a_connection_that_is_refused_or_never_accepted(ends: dict[str, ClientRow]) -> None:
    assert ends["refused"].error == "refused"
    assert ends["full"].error == "timeout"
    assert ends["full"].status == ends["refused"].status == 0


def test_a_cut_answer_still_has_its_instance_and_its_size(ends: dict[str, ClientRow]) -> None:
    assert (ends["short"].instance, ends["short"].bytes) == ("api-1", 2)
