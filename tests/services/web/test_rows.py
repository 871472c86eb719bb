import json
import resource
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bulkhead.testing import wait_until
from tests.services.web.browser import program
from tests.services.web.conftest import StartWeb
from tests.services.web.ledger_stub import LedgerStub, Orders

pytestmark = pytest.mark.live


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_request_leaves_a_begin_and_an_end(start_web: StartWeb) -> None:
    web = start_web(BULKHEAD_WORKERS="1")
    client = program(web.port)
    who = client.get("/whoami?x=%20y", {"X-Request-ID": "request-1", "Idempotency-Key": "k1"})
    client.ask("DELETE", "/about", headers={"X-Request-ID": "request-2"})
    client.get("/static/style.css", {"X-Request-ID": "request-3"})
    client.ask("HEAD", "/nowhere", headers={"X-Request-ID": "request-4"})
    wait_until("the last end row", lambda: len(rows(web.rows)) == 8)

    process = {"instance": "web-1", "pid": who.json()["pid"], "boot": who.json()["boot"]}
    written = [{n: v for n, v in row.items() if n != "t"} for row in rows(web.rows)]
    expected: list[dict[str, Any]] = []
    for number, (method, target, key, status) in enumerate(
        [
            ("GET", "/whoami?x=%20y", "k1", 200),
            ("DELETE", "/about", None, 405),
            ("GET", "/static/style.css", None, 200),
            ("HEAD", "/nowhere", None, 404),
        ],
        1,
    ):
        common = {"id": f"request-{number}", "n": number} | process
        begun = {"kind": "begin", "method": method, "target": target, "key": key}
        expected += [common | begun, common | {"kind": "end", "status": status, "effect": "none"}]
    assert written == expected


def test_internal_requests_leave_no_rows(start_web: StartWeb) -> None:
    web = start_web(BULKHEAD_WORKERS="1")
    for target in ("/healthz", "/readyz", "/metrics"):
        program(web.port).get(target)
    assert rows(web.rows) == []


def test_a_request_cut_off_by_sigkill_has_begun_and_not_ended(
    start_web: StartWeb, ledger: LedgerStub
) -> None:
    web = start_web(BULKHEAD_WORKERS="1", BULKHEAD_API_TIMEOUT_S="10")
    ledger.orders = Orders(delay_s=1.0)
    with ThreadPoolExecutor() as pool:
        cut = pool.submit(program(web.port).get, "/", {"X-Request-ID": "request-1"})
        wait_until("the call to the ledger", lambda: len(ledger.asked) == 1)
        (worker,) = web.workers()
        web.kill_worker(worker, signal.SIGKILL)
        with pytest.raises(ConnectionError):
            cut.result()
    assert [(row["kind"], row["id"], row["pid"]) for row in rows(web.rows)] == [
        ("begin", "request-1", worker)
    ]


def test_without_room_for_rows_requests_go_on(start_web: StartWeb) -> None:
    web = start_web(BULKHEAD_WORKERS="1")
    (worker,) = web.workers()
    web.rows.write_text(" " * 2**21 + "\n")
    size = web.rows.stat().st_size
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (size + 30, -1))
    client = program(web.port)
    for _ in range(5):
        assert client.get("/whoami").status == 200
    assert client.get("/readyz").json()["rows_dropped"] == 10
    assert 'bulkhead_rows_dropped_total{instance="web-1"' in client.get("/metrics").text
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (-1, -1))
    wait_until("the file tells", lambda: '"kind":"dropped"' in web.rows.read_text())
    assert client.get("/whoami").status == 200
    assert web.workers() == [worker]
    assert "requests go on without" in web.log.read_text()


def test_no_request_makes_a_long_row_or_one_that_is_no_utf_8(start_web: StartWeb) -> None:
    web = start_web(BULKHEAD_WORKERS="1")
    for key in (b"k" * 5000, b"\xff" * 5000, b"z\xfcrich"):
        head = b"GET /about?" + b"a" * 7000 + b" HTTP/1.1\r\nHost: x\r\nIdempotency-Key: "
        answered(web.port, head + key + b"\r\n\r\n")
    wait_until("the last end row", lambda: len(rows(web.rows)) == 6)
    assert max(map(len, web.rows.read_bytes().splitlines())) < 4000
    assert rows(web.rows)[-2]["key"] == "z\ufffdrich"


def answered(port: int, request: bytes) -> None:
    """Send one request, and wait for its answer to begin."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        assert connection.recv(100)
