"""The admin socket, the same for a Tornado process and for a gunicorn worker."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkhead.http_probe import UnixConnection
from bulkhead.testing import free_ports, wait_until
from services.common.fault_injection import DEFAULTS
from tests.services.admin_client import AdminSocket, cpu_s, names, resident_mb, sockets
from tests.services.api.conftest import running_fleet
from tests.services.web.processes import WebInstance
from tests.support.http import Answer, request

pytestmark = pytest.mark.live

# Far longer than any test waits for an end: a drain that waits out its grace time fails the test.
GRACE_S = "60"


@dataclass(frozen=True)
class Served:
    """One serving process and what it leaves."""

    url: str
    page: str  # an executed request
    rows_file: Path
    admin: AdminSocket
    stop: Callable[[], int]  # by SIGTERM; the exit code

    def get(self, target: str = "", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return request(self.url, "GET", target or self.page, headers=named)

    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.rows_file.read_text().splitlines()]

    def end_of(self, request_id: str) -> dict[str, Any]:
        """The end row of a request, which must follow its begin row."""
        ended = wait_until(
            f"{request_id} ends",
            lambda: [row for row in self.rows() if row["id"] == request_id][1:],
        )
        assert [row["kind"] for row in ended] == ["end"]
        return ended[0]


@contextmanager
def served_by_api(folder: Path, admin: Path) -> Iterator[Served]:
    with running_fleet(folder) as fleet:
        api = fleet.start(admin_dir=str(admin), grace_s=GRACE_S)

        def stop() -> int:
            api.terminate()
            return api.wait()

        (socket,) = sockets(admin, 1)
        yield Served(api.url, "/api/v1/whoami", folder / "service.jsonl", socket, stop)


@contextmanager
def served_by_web(folder: Path, admin: Path) -> Iterator[Served]:
    with free_ports() as ports:
        environ = {
            "BULKHEAD_INSTANCE": "web-1",
            "BULKHEAD_WORKERS": "1",
            "BULKHEAD_ADMIN_DIR": str(admin),
            "BULKHEAD_GRACE_S": GRACE_S,
        }
        web = WebInstance(ports[0], folder, environ, "services.web.wsgi:app")
        web.start()

        def stop() -> int:
            web.send(signal.SIGTERM)
            return web.wait()

        try:
            (socket,) = sockets(admin, 1)
            url = f"http://127.0.0.1:{web.port}"
            yield Served(url, "/whoami", web.rows, socket, stop)
        finally:
            web.close()


@pytest.fixture(params=[served_by_api, served_by_web], ids=["api", "web"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    admin = tmp_path / "admin"
    admin.mkdir(mode=0o700)
    with request.param(tmp_path, admin) as process:
        yield process


def test_the_state_names_the_process_and_every_fault(served: Served) -> None:
    answer = served.admin.ask("GET")
    who = served.get()
    boot = who.headers["X-Boot"]
    named = {"instance": who.instance, "pid": served.admin.pid, "boot": boot}
    assert answer.json() == {**named, **DEFAULTS, "memory_held_mb": 0}
    assert (answer.headers["X-Instance"], answer.headers["X-Boot"]) == (who.instance, boot)
    assert served.admin.path.name == f"{who.instance}.{boot.partition('.')[0]}.sock"
    assert served.admin.mode == 0o600


def test_what_cannot_be_done_is_refused_in_the_common_form(served: Served) -> None:
    before = served.admin.tell(slow_ms=1)
    for method, target, body, status, code, said in (
        ("PUT", "/faults", {"slow_ms": -1, "no": 1}, 400, "faults_invalid", "slow_ms = -1: "),
        ("PUT", "/faults", {"slow_ms": 5, "no": 1}, 400, "faults_invalid", "no = 1: unknown"),
        ("PUT", "/faults", b"{", 400, "faults_invalid", "not JSON"),
        ("PUT", "/faults", b"", 400, "faults_invalid", "not JSON"),
        ("PUT", "/faults", b"[" * 50_000, 400, "faults_invalid", "not JSON"),
        ("PUT", "/faults", b"\xff", 400, "faults_invalid", "not JSON"),
        ("PUT", "/faults", [], 400, "faults_invalid", "a JSON object, not list"),
        ("POST", "/faults", {}, 405, "method_not_allowed", "POST"),
        ("GET", "/", None, 404, "path_not_found", "/"),
    ):
        answer = served.admin.ask(method, body, target)
        assert (answer.status, answer.json()["error_code"]) == (status, code)
        assert said in answer.json()["error_msg"]
        assert answer.json()["resolution"]
        assert answer.headers["Allow"] == ("GET, PUT, DELETE" if status == 405 else None)
    assert served.admin.state() == before


def test_an_injected_error_is_answered_like_any_other_error(served: Served) -> None:
    served.admin.tell(errors_share=1, errors_status=502)
    answer = served.get(X_Request_ID="the-failed-one")
    assert (answer.status, answer.json()["error_code"]) == (502, "injected_error")
    assert answer.instance == served.admin.state()["instance"]
    assert answer.headers["X-Boot"] == served.admin.state()["boot"]
    assert answer.headers["X-Request-ID"] == "the-failed-one"
    end = served.end_of("the-failed-one")
    assert (end["status"], end["effect"], end["fault"]) == (502, "none", "errors")


def test_nothing_but_executed_requests_is_hit(served: Served) -> None:
    served.admin.tell(errors_share=1, slow_ms=60_000)
    for target in ("/healthz", "/readyz", "/metrics"):
        assert served.get(target).status == 200
    assert served.get().status == 503
    assert served.get("/nowhere").status == 503


def test_after_a_delete_requests_are_as_before(served: Served) -> None:
    served.admin.tell(errors_share=1)
    assert served.get().status == 503
    state = served.admin.clear()
    assert {name: state[name] for name in DEFAULTS} == DEFAULTS
    assert served.get(X_Request_ID="the-healed-one").status == 200
    assert "fault" not in served.end_of("the-healed-one")


def test_a_share_hits_that_share(served: Served) -> None:
    served.admin.tell(errors_share=0.5)
    statuses = [served.get().status for _ in range(200)]
    assert set(statuses) == {200, 503}
    assert 50 <= statuses.count(503) <= 150  # seven standard deviations


def test_a_slow_request_waits_and_holds_up_nobody_else(served: Served) -> None:
    served.admin.tell(slow_ms=2000)
    with ThreadPoolExecutor(1) as clients:
        slow = clients.submit(served.get, X_Request_ID="the-slow-one")
        wait_until("it has begun", served.rows_file.read_text)
        assert served.get("/healthz").status == 200
        assert served.admin.clear()["slow_ms"] == 0
        served.get(X_Request_ID="the-quick-one")
        quick = served.end_of("the-quick-one")
        assert slow.result().status == 200
    end = served.end_of("the-slow-one")
    (begin,) = [row for row in served.rows() if row["id"] == "the-slow-one"][:1]
    assert (end["status"], end["fault"]) == (200, "slow")
    assert end["t"] - begin["t"] >= 2
    assert begin["t"] < quick["t"] < end["t"], "the event loop went on meanwhile"


def test_a_busy_process_answers_first_and_then_nothing_until_it_is_done(served: Served) -> None:
    cpu = cpu_s(served.admin.pid)
    assert served.admin.tell(busy_s=2)["busy_s"] == 2
    answered = time.monotonic()
    assert served.get("/healthz").status == 200
    assert time.monotonic() - answered > 1, "it was answered before it was busy"
    assert cpu_s(served.admin.pid) - cpu > 0.2, "it computes, it does not sleep"
    assert served.admin.state()["busy_s"] == 0


def test_memory_is_really_taken_and_really_given_back(served: Served) -> None:
    before = resident_mb(served.admin.pid)
    assert served.admin.tell(memory_mb=100)["memory_held_mb"] == 0, "it grows after the answer"
    served.admin.tell(memory_mb=100)
    wait_until("it is held", lambda: served.admin.state()["memory_held_mb"] == 100)
    assert 95 < resident_mb(served.admin.pid) - before < 120
    assert served.admin.tell(memory_mb=20)["memory_held_mb"] <= 20
    wait_until("some of it", lambda: served.admin.state()["memory_held_mb"] == 20)
    assert served.admin.clear()["memory_held_mb"] == 0
    assert resident_mb(served.admin.pid) - before < 15


def test_admin_requests_leave_no_rows_and_no_metrics(served: Served) -> None:
    for _ in range(3):
        served.admin.tell(slow_share=0.5)
        served.admin.ask("POST")
    served.get(X_Request_ID="the-only-one")
    served.end_of("the-only-one")
    assert {row["id"] for row in served.rows()} == {"the-only-one"}
    metrics = served.get("/metrics").body.decode()
    assert 'status="200"' in metrics
    assert "PUT" not in metrics
    assert 'status="405"' not in metrics


def test_a_stop_waits_for_no_admin_connection_and_removes_the_socket(served: Served) -> None:
    idle, unfinished = (UnixConnection(served.admin.path, 15) for _ in range(2))
    idle.request("GET", "/faults")
    assert idle.getresponse().read()
    unfinished.connect()
    unfinished.sock.sendall(b"PUT /faults HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert served.stop() == 0
    assert names(served.admin.path.parent) == []
    idle.close()
    unfinished.close()
