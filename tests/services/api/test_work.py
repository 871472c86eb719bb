"""Work and fan-out: how long, how much, and how calls to the web service are joined."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bulkhead.testing import wait_until
from tests.services.api.processes import Api, Fleet
from tests.services.api.web_stub import Web, web

pytestmark = pytest.mark.live

WORK = "/api/v1/work"
FANOUT = "/api/v1/fanout"


def timed(api: Api, target: str) -> tuple[float, int]:
    started = time.monotonic()
    status = api.get(target).status
    return time.monotonic() - started, status


def test_work_waits_without_blocking(api: Api) -> None:
    with ThreadPoolExecutor(10) as clients:
        started = time.monotonic()
        took = list(clients.map(lambda _: timed(api, f"{WORK}?ms=200")[0], range(10)))
        assert min(took) >= 0.2
        assert time.monotonic() - started < 1


def test_work_burns_cpu_on_the_loop(api: Api) -> None:
    assert timed(api, f"{WORK}?cpu_ms=800")[0] >= 0.8
    # The loop's own clock ticks every 250 ms, and could not for 800.
    wait_until("the loop was late", lambda: api.metric("loop_lag_max_seconds") > 0.5)


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 16 * 1024 * 1024])
def test_work_answers_with_as_much_as_asked(api: Api, size: int) -> None:
    answer = api.get(f"{WORK}?bytes={size}")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert (len(answer.body), answer.headers["Content-Length"]) == (size, str(size))


def test_work_for_a_client_that_leaves_is_forgotten(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as stream:
        stream.sendall(f"GET {WORK}?bytes=16777216 HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        stream.recv(1)
    wait_until("the request is over", lambda: api.metric("in_flight") == 1)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("ms=60001", 422),
        ("cpu_ms=10001", 422),
        ("bytes=16777217", 422),
        ("ms=-1", 422),
        ("ms=1.5", 400),
        ("bytes=x", 400),
        ("ms=1&ms=1", 400),
        ("seconds=1", 400),
    ],
)
def test_work_has_limits(api: Api, query: str, status: int) -> None:
    assert api.get(f"{WORK}?{query}").status == status


def test_fanout_joins_the_answers(fleet: Fleet) -> None:
    with web() as url:
        api = fleet.start(proxy_url=url)
        answer = api.get(f"{FANOUT}?n=32", X_Request_ID="the-parent")
        one = {"instance": "web-1", "boot": "7.8", "status": 200}
        assert (answer.status, answer.json()) == (
            200,
            {"n": 32, "answers": [one] * 32, "failed": 0},
        )
        assert {path for path, _ in Web.seen} == {"/whoami"}
        assert {name for _, name in Web.seen} == {f"the-parent.{n}" for n in range(1, 33)}
        longest = "p" * 128
        api.get(FANOUT, X_Request_ID=longest)
        assert Web.seen[-1][1] == longest[:126] + ".1"


def test_fanout_says_what_failed(fleet: Fleet) -> None:
    with web(good=3) as url:
        api = fleet.start(proxy_url=url)
        answer = api.get(f"{FANOUT}?n=5")
    assert (answer.status, answer.json()["error_code"]) == (502, "fanout_incomplete")
    assert answer.json()["error_msg"] == "2 of 5 calls to the web service failed: 2 x status 503."
    refused = api.get(FANOUT)
    assert refused.status == 502
    assert "Connection refused" in refused.json()["error_msg"]


@pytest.mark.parametrize(("query", "status"), [("n=0", 422), ("n=33", 422), ("n=a", 400)])
def test_fanout_has_limits(api: Api, query: str, status: int) -> None:
    assert api.get(f"{FANOUT}?{query}").status == status


def test_work_has_an_instances_own_limits_or_is_not_there(fleet: Fleet) -> None:
    """As the renderer sets them: below what the proxy waits and what the watchdog bears."""
    api = fleet.start(work_ms="8000", work_cpu_ms="400")
    statuses = [api.get(f"{WORK}?{query}").status for query in ("ms=8001", "cpu_ms=401", "ms=1")]
    assert statuses == [422, 422, 200]
    assert '"maximum":400' in api.get("/api/v1/openapi.json").body.decode()
    api = fleet.start(work_ms="0", work_cpu_ms="0")
    assert (api.get(WORK).status, api.get(f"{WORK}?cpu_ms=1").status) == (404, 404)
    assert WORK not in api.get("/api/v1/openapi.json").body.decode()
