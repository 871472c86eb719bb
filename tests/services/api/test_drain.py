"""Stopping: what is in flight is finished, what comes later is told to go elsewhere, exit 0."""

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

import pytest

from bulkhead.testing import wait_until
from tests.services.api.processes import Api, Fleet, read_answer
from tests.support.unnamed import NAME, silence

pytestmark = pytest.mark.live


def get(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()


def in_flight(api: Api, count: int) -> None:
    wait_until(f"{count} requests are in flight", lambda: api.metric("in_flight") == count + 1)


def refuses(api: Api) -> bool:
    try:
        api.connect().close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_finished(fleet: Fleet, number: signal.Signals) -> None:
    api = fleet.start()
    kept = api.connect()
    with ThreadPoolExecutor(1) as clients:
        slow = clients.submit(api.get, "/api/v1/work?ms=600&bytes=5")
        in_flight(api, 1)
        api.terminate(number)
        wait_until("new connections are refused", lambda: refuses(api))
        kept.request("GET", "/readyz")
        answer = kept.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (503, "close")
        assert b'"status":"draining"' in answer.read()
        assert not slow.done()
        done = slow.result()
        assert (done.status, done.body, done.headers["Connection"]) == (200, bytes(5), "close")
    assert api.wait() == 0
    kept.close()


def test_a_write_that_waits_is_committed_and_acknowledged(fleet: Fleet) -> None:
    api = fleet.start()
    with ThreadPoolExecutor(5) as clients:
        with fleet.locked():
            writes = [clients.submit(api.add) for _ in range(5)]
            wait_until("all writes wait", lambda: api.metric("ledger_waiting") == 5)
            api.terminate()
            wait_until("it drains while the ledger is locked", lambda: refuses(api))
        assert {write.result().status for write in writes} == {201}
    assert api.wait() == 0
    assert fleet.sql("SELECT count(*) FROM entries") == [(5,)]


def test_connections_in_the_accept_queue_are_served(fleet: Fleet) -> None:
    """They arrive while the loop is blocked; the signal is handled in the turn after."""
    api = fleet.start()
    blocker = socket.create_connection(("127.0.0.1", api.port), timeout=15)
    blocker.sendall(get("/api/v1/work?cpu_ms=400"))
    time.sleep(0.1)  # nothing can be observed of a blocked loop
    streams = [blocker]
    for _ in range(300):
        streams.append(socket.create_connection(("127.0.0.1", api.port), timeout=15))
        streams[-1].sendall(get("/api/v1/whoami"))
    api.terminate()
    assert [read_answer(stream).status for stream in streams] == [200] * 301
    for stream in streams:
        stream.close()
    assert api.wait() == 0


def test_idle_connections_delay_the_exit_for_a_short_while_only(fleet: Fleet) -> None:
    api = fleet.start()
    idle = [api.connect() for _ in range(3)]
    started = time.monotonic()
    api.terminate()
    assert api.wait() == 0
    assert 0.9 < time.monotonic() - started < 4
    for connection in idle:
        assert connection.sock.recv(1) == b""
        connection.close()


def test_an_instance_without_connections_exits_at_once(fleet: Fleet) -> None:
    api = fleet.start()
    started = time.monotonic()
    api.terminate()
    assert api.wait() == 0
    assert time.monotonic() - started < 0.9


def test_a_request_body_on_its_way_is_awaited(fleet: Fleet) -> None:
    api = fleet.start()
    body = b'{"account": "a", "amount": 1}'
    with socket.create_connection(("127.0.0.1", api.port), timeout=15) as stream:
        stream.sendall(
            b"POST /api/v1/entries HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        in_flight(api, 1)
        api.terminate()
        time.sleep(1.3)  # longer than idle connections are kept
        stream.sendall(body)
        assert read_answer(stream).status == 201
    assert api.wait() == 0


def test_an_answer_on_its_way_is_awaited(fleet: Fleet) -> None:
    """The client reads slowly, so most of the answer is still in this process."""
    api = fleet.start()
    with socket.socket() as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.settimeout(15)
        stream.connect(("127.0.0.1", api.port))
        stream.sendall(get("/api/v1/work?bytes=16777216"))
        in_flight(api, 1)
        api.terminate()
        time.sleep(1.3)
        assert len(read_answer(stream).body) == 16 * 1024 * 1024
    assert api.wait() == 0


def test_the_grace_time_ends_what_takes_longer(fleet: Fleet) -> None:
    api = fleet.start(grace_s="0.4")
    with ThreadPoolExecutor(1) as clients:
        slow = clients.submit(api.get, "/api/v1/work?ms=20000")
        in_flight(api, 1)
        started = time.monotonic()
        api.terminate()
        assert api.wait() == 0
        assert 0.3 < time.monotonic() - started < 4
        with pytest.raises((OSError, HTTPException)):
            slow.result()
    assert "the grace time is over: 1 requests are cut" in api.log.read_text()


def test_a_name_that_nobody_resolves_delays_no_exit(fleet: Fleet) -> None:
    """As in a container whose database has gone: the look-up waits in a thread, for minutes."""
    with silence() as fleet.prefix, ThreadPoolExecutor(3) as clients:
        api = fleet.start(ledger_url=f"postgresql://bulkhead@{NAME}/bulkhead")
        writes = [clients.submit(api.add) for _ in range(3)]
        in_flight(api, 3)
        assert {write.result().status for write in writes} == {503}
        started = time.monotonic()
        api.terminate()
        assert api.wait() == 0
        assert time.monotonic() - started < 4


def test_a_second_signal_ends_it_at_once(fleet: Fleet) -> None:
    api = fleet.start()
    with ThreadPoolExecutor(1) as clients:
        slow = clients.submit(api.get, "/api/v1/work?ms=20000")
        in_flight(api, 1)
        api.terminate()
        wait_until("new connections are refused", lambda: refuses(api))
        api.terminate()
        assert api.wait() == -signal.SIGTERM
        with pytest.raises((OSError, HTTPException)):
            slow.result()
