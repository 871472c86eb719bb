"""An answer counts only for the instance, and the process, that gave it."""

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from bulkhead import http_probe, proc
from bulkhead.proc import MAX_PID, Process

PID = os.getpid()


class Handler(BaseHTTPRequestHandler):
    """The instance api-1; it is this very process, or one that does not say so."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("X-Instance", "api-1")
        self.send_header("X-Boot", self.server.boot)  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.boot = f"{PID}.7"  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_an_answer_in_another_name_is_none(server: ThreadingHTTPServer) -> None:
    port = server.server_port
    assert http_probe.accepts("127.0.0.1", port)
    assert http_probe.answers("127.0.0.1", port, "api-1")
    assert not http_probe.answers("127.0.0.1", port, "api-2")


def test_only_the_leader_and_its_children_speak_for_an_instance(
    server: ThreadingHTTPServer,
) -> None:
    address = f"127.0.0.1:{server.server_port}"
    this, parent = proc.find(PID), proc.find(os.getppid())
    assert this
    assert parent
    assert http_probe.leader_ready(address, "api-1", this)
    assert http_probe.leader_ready(address, "api-1", parent)
    assert not http_probe.leader_ready(address, "api-1", Process(MAX_PID, 0))
    server.boot = ""  # type: ignore[attr-defined]
    assert not http_probe.leader_ready(address, "api-1", this)


def test_nobody_there_is_no_answer(server: ThreadingHTTPServer) -> None:
    port = server.server_port
    server.shutdown()
    server.server_close()
    assert not http_probe.accepts("127.0.0.1", port)
    assert not http_probe.answers("127.0.0.1", port, "api-1", timeout_s=1)
    assert http_probe.dropped_rows(f"127.0.0.1:{port}") == 0
