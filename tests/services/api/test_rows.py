"""Service rows: a begin and an end for each execution, and a begin alone for one that died."""

import json
import resource
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any

import pytest

from bulkhead.testing import wait_until
from tests.services.api.processes import Fleet

pytestmark = pytest.mark.live

ENTRIES = "/api/v1/entries"
DRAFT = {"account": "a", "amount": 1}


def of(rows: list[dict[str, Any]], request_id: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["id"] == request_id]


def test_each_execution_has_a_begin_and_an_end(fleet: Fleet) -> None:
    api = fleet.start()
    boot = api.get("/healthz").headers["X-Boot"]
    api.add(X_Request_ID="request-1", Idempotency_Key="k")
    begin, end = fleet.rows(2)
    who = {"id": "request-1", "n": 1, "instance": "api-1", "pid": api.process.pid, "boot": boot}
    wrote = {"method": "POST", "target": ENTRIES, "key": "k"}
    assert begin == {"kind": "begin", "t": begin["t"], **who, **wrote}
    assert end == {"kind": "end", "t": end["t"], **who, "status": 201, "effect": "applied"}
    assert begin["t"] < end["t"]


def test_the_end_says_what_was_done_to_the_ledger(fleet: Fleet) -> None:
    api = fleet.start()
    entry, proxied = f"{ENTRIES}/e", {"X-Proxy-Request": "p"}
    expected = []
    for number, (method, target, body, headers, status, effect) in enumerate(
        [
            ("PUT", entry, DRAFT, proxied, 201, "applied"),
            ("PUT", entry, DRAFT, proxied, 201, "replayed"),
            ("PUT", entry, {**DRAFT, "amount": 2}, proxied, 422, "none"),
            ("PATCH", entry, {}, {}, 422, "none"),
            ("DELETE", f"{ENTRIES}/x", None, {"Idempotency-Key": "d"}, 404, "none"),
            ("DELETE", f"{ENTRIES}/x", None, {"Idempotency-Key": "d"}, 404, "replayed"),
            ("GET", entry, None, {}, 200, "none"),
            ("GET", "/nothing", None, {}, 404, "none"),
            ("BREW", ENTRIES, None, {}, 405, "none"),
            ("POST", ENTRIES, b"x" * 2**21, {}, 413, "none"),
        ]
    ):
        request_id = f"request-{number}"
        answer = api.request(method, target, body, {**headers, "X-Request-ID": request_id})
        assert answer.status == status
        expected.append((request_id, status, effect))
    rows = fleet.rows(20)
    ends = [(row["id"], row["status"], row["effect"]) for row in rows if row["kind"] == "end"]
    assert ends == expected
    assert [row["id"] for row in rows if row["kind"] == "begin"] == [one for one, *_ in expected]
    assert of(rows, "request-0")[0]["key"] == "proxy:p"
    assert of(rows, "request-6")[0]["key"] is None


def test_an_execution_that_is_killed_has_only_a_begin(fleet: Fleet) -> None:
    api, other = fleet.start(), fleet.start()
    with ThreadPoolExecutor(1) as clients:
        killed = clients.submit(api.get, "/api/v1/work?ms=20000", X_Request_ID="the-killed-one")
        wait_until("it has begun", lambda: api.metric("in_flight") == 2)
        api.kill()
        with pytest.raises((OSError, HTTPException)):
            killed.result()
    other.get("/api/v1/whoami", X_Request_ID="the-next-one")
    rows = fleet.rows(3)
    assert [row["kind"] for row in of(rows, "the-killed-one")] == ["begin"]
    assert [row["kind"] for row in of(rows, "the-next-one")] == ["begin", "end"]


def test_a_write_that_is_killed_before_its_commit_has_no_effect(fleet: Fleet) -> None:
    api = fleet.start()
    with ThreadPoolExecutor(1) as clients, fleet.locked():
        killed = clients.submit(api.add, X_Request_ID="the-killed-one")
        wait_until("it waits", lambda: api.metric("ledger_waiting") == 1)
        api.kill()
        with pytest.raises((OSError, HTTPException)):
            killed.result()
    assert [row["kind"] for row in fleet.rows(1)] == ["begin"]
    assert fleet.sql("SELECT * FROM effects") == []


def test_internal_endpoints_leave_no_rows(fleet: Fleet) -> None:
    api = fleet.start()
    for target in ("/healthz", "/readyz", "/metrics"):
        for method in ("GET", "HEAD", "OPTIONS", "POST"):
            api.request(method, target)
    api.get("/api/v1/whoami", X_Request_ID="the-public-one")
    assert {row["id"] for row in fleet.rows(2)} == {"the-public-one"}


def test_no_request_makes_a_long_row(fleet: Fleet) -> None:
    """Rows of several processes share a file because each is one short write."""
    api = fleet.start()
    api.get("/" + "a" * 50_000, X_Request_ID="r" * 128)
    api.request("M" * 5000, "/")
    api.send(b"GET /" + b"\xff" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    fleet.rows(6)
    rows = (fleet.folder / "service.jsonl").read_bytes().splitlines()
    assert max(map(len, rows)) < 4000


def test_without_a_path_no_rows_are_written(fleet: Fleet) -> None:
    api = fleet.start(rows="")
    assert api.add().status == 201
    assert not (fleet.folder / "service.jsonl").exists()


def test_without_room_for_rows_requests_go_on(fleet: Fleet) -> None:
    api = fleet.start()
    path = fleet.folder / "service.jsonl"
    # Larger than any other file of this process: only this one has no room.
    path.write_text(" " * 2**21 + "\n")
    size = path.stat().st_size
    resource.prlimit(api.process.pid, resource.RLIMIT_FSIZE, (size + 30, -1))
    for number in range(5):
        assert api.add(X_Request_ID=f"request-{number}").status == 201
    assert api.get("/readyz").status == 200
    assert api.metric("rows_dropped_total") == 10
    assert json.loads(api.get("/readyz").body)["rows_dropped"] == 10
    resource.prlimit(api.process.pid, resource.RLIMIT_FSIZE, (-1, -1))
    wait_until("the file tells", lambda: '"kind":"dropped"' in path.read_text())
    assert api.add(X_Request_ID="request-5").status == 201
    wait_until("its rows", lambda: path.read_text().count("request-5") == 2)
    assert "requests go on without" in api.log.read_text()


def test_rows_are_utf_8_whatever_was_sent(fleet: Fleet) -> None:
    api = fleet.start()
    api.send("GET /z%C3%BCrich?a=zürich HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    api.send(b"GET /z\xfcrich HTTP/1.1\r\nHost: x\r\n\r\n")
    begins = [row["target"] for row in fleet.rows(4) if row["kind"] == "begin"]
    assert begins == ["/z%C3%BCrich?a=zürich", "/z\ufffdrich"]
