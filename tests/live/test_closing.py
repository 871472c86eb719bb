"""A worker of nginx that is to end: its clients are sent away first."""

import socket
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bulkhead.testing import wait_until
from tests.support.watched import watched

pytestmark = pytest.mark.live

ONE_WORKER = "proxy.workers=1"
KEYED = {"Idempotency-Key": "k-1"}


def test_a_closing_worker_sends_its_clients_away(tmp_path: Path) -> None:
    """Those that ask: each answer says so, and the connection is closed after it."""
    with watched(tmp_path / "home", ONE_WORKER) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        connection = HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
        assert kept(connection, "GET") == "keep-alive"
        (worker,) = proxy.workers()
        marker = proxy.home.closing / str(worker)
        marker.touch()
        wait_until("it says so", lambda: proxy.ask().headers["Connection"] == "close")
        for method, headers in (("GET", {}), ("POST", KEYED), ("POST", {})):
            assert kept(connection, method, headers) == "close"
            assert connection.sock is None, "and http.client has seen that it is closed"
        with socket.create_connection(("127.0.0.1", int(proxy.url.split(":")[-1]))) as client:
            client.sendall(b"GET /api/ HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while chunk := client.recv(65536):
                received += chunk
        assert b"Connection: close" in received
        assert proxy.ask("/api/?poison=1", timeout_s=30).status == 502, "the longest way there is"
        marker.unlink()
        proxy.kill()
        proxy.serve()
        proxy.tell_all("up")
        wait_until("no more", lambda: kept(connection, "GET") == "keep-alive")
        connection.close()


def kept(connection: HTTPConnection, method: str, headers: dict[str, str] | None = None) -> str:
    """What an answer says of its connection."""
    connection.request(method, "/api/", b"x" if method == "POST" else None, headers or {})
    answer = connection.getresponse()
    answer.read()
    return str(answer.headers["Connection"])
