"""The open loop against the real services, and in Locust's web interface."""

import json
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.records import ClientRow, ProxyRow
from bulkhead.testing import free_ports, wait_until
from loadtest.answer import Answer, parsed, short_cut
from tests.loadtest import running
from tests.loadtest.stub import Stub, serving
from tests.loadtest.test_openloop_entries import NAMES
from tests.loadtest.test_web_ui import fetch
from tests.support.rows import rows_so_far
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("open") / "home") as stack:
        yield stack


def test_a_healthy_stack_answers_every_arrival_of_every_kind(stack: Stack, tmp_path: Path) -> None:
    rows = running.open_loop(stack.url, tmp_path, rate=100, load_s=3, arrivals="poisson")
    assert [row for row in rows if row.error or row.wrong or row.status >= 400] == []
    assert {row.name for row in rows} == NAMES
    assert {row.instance.partition("-")[0] for row in rows} == {"api", "web"}
    assert all(row.boot for row in rows)
    writes = [row for row in rows if row.effect != "read"]
    assert all(row.entry for row in writes)
    assert {row.replayed for row in rows} == {False}
    assert len({row.key for row in writes if row.key}) == sum(bool(row.key) for row in writes)

    by_id = {row.id: row for row in rows}
    proxy = [row for row in rows_so_far(stack.home.proxy_rows, ProxyRow) if row.id in by_id]
    assert Counter(row.id for row in proxy) == Counter(row.id for row in rows)
    for row in proxy:
        sent: ClientRow = by_id[row.id]
        assert (row.method, row.target, row.key) == (sent.method, sent.target, sent.key)
        assert (row.status, row.instance, row.boot) == (sent.status, sent.instance, sent.boot)
        assert row.bytes == sent.bytes


@pytest.mark.parametrize(
    "line",
    ["GET /api/v1/entries?limit=20", "GET /", "GET /api/v1/fanout?n=3", "DELETE /api/v1/entries/x"],
)
def test_what_the_proxy_sends_is_usual_enough_for_the_short_cut(stack: Stack, line: str) -> None:
    """Otherwise the load would be as right, but several times as expensive."""
    host, port = stack.url.removeprefix("http://").split(":")
    answer, data = Answer("GET"), b""
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        while not answer.finals:
            data += (piece := sock.recv(65_536))
            answer.feed(piece)
    assert short_cut(data) == parsed(answer)


def test_the_web_ui_starts_and_stops_it_as_often_as_one_likes(tmp_path: Path) -> None:
    rows_file = tmp_path / "client.jsonl"
    with serving() as stub, free_ports() as ports:
        ui = f"http://127.0.0.1:{ports[0]}"
        arguments = ("--web-host", "127.0.0.1", "--web-port", str(ports[0]))
        asked = {"proxy_url": stub.url, "arrivals": "constant", "mix": {"list": 1, "post": 1}}
        with running.started(running.OPEN, *arguments, rows=rows_file, settings=asked) as load:
            wait_until("the page", lambda: stub.url in fetch(ui), 15)
            start_and_stop(ui, stub)
            start_and_stop(ui, stub)
            load.process.send_signal(signal.SIGTERM)
            assert load.end() == 0, load.log
    rows = running.client_rows(rows_file)
    assert Counter(stub.ids) == Counter(row.id for row in rows)
    assert len({row.id.partition("-")[0] for row in rows}) == 2
    assert f"client rows: {len(rows)} in" in load.log


def start_and_stop(ui: str, stub: Stub) -> None:
    """Locust's figures are then those of the stub; Locust renews them every now and then."""
    before = len(stub.ids)
    form = {"user_count": 1, "spawn_rate": 1, "host": stub.url}
    assert json.loads(fetch(ui, "/swarm", form))["success"]
    wait_until("ten requests", lambda: len(stub.ids) >= before + 10)
    assert json.loads(fetch(ui, "/stop", {}))["success"]
    made = len(stub.ids) - before
    wait_until(f"{made} requests in Locust's figures", lambda: counted(ui) == made)


def counted(ui: str) -> int:
    requests: int = json.loads(fetch(ui, "/stats/requests"))["stats"][-1]["num_requests"]
    return requests
