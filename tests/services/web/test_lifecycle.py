"""What happens to requests when workers and masters die or are told to stop."""

import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bulkhead.testing import wait_until
from tests.services.web.browser import program
from tests.services.web.conftest import StartWeb
from tests.services.web.ledger_stub import LedgerStub, Orders
from tests.services.web.processes import CONF, ROOT, WebInstance, accepts, alive, state
from tests.support.segments import ask_counted
from tests.support.unnamed import NAME, silence

pytestmark = pytest.mark.live


def test_a_slow_ledger_holds_up_nobody_else(start_web: StartWeb, ledger: LedgerStub) -> None:
    web = start_web(BULKHEAD_WORKERS="1", BULKHEAD_API_TIMEOUT_S="10")
    client = program(web.port)
    client.get("/")
    ledger.orders = Orders(delay_s=1.0)
    started = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        slow = [pool.submit(client.get, "/") for _ in range(20)]
        wait_until("all twenty calls in flight", lambda: len(ledger.asked) == 21, 0.9)
        asked = time.monotonic()
        assert client.get("/whoami").status == 200
        assert time.monotonic() - asked < 0.3
        assert [future.result().status for future in slow] == [200] * 20
    assert time.monotonic() - started < 2.0, "twenty waits of 1 s overlap in one process"


def test_a_killed_worker_is_replaced_at_once(start_web: StartWeb) -> None:
    web = start_web(BULKHEAD_WORKERS="2")
    client = program(web.port)
    before = web.workers()
    for worker in before:
        web.kill_worker(worker, signal.SIGKILL)
    answer = client.get("/whoami").json()  # waits in the master's queue, is not refused
    assert answer["pid"] not in before
    wait_until("two new workers", lambda: len(set(web.workers()) - set(before)) == 2, 2.0)


@pytest.mark.parametrize("target", ["/", "/whoami", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_leaves_as_a_whole(web: WebInstance, method: str, target: str) -> None:
    """A worker that is killed has answered, or not at all: then the proxy can ask another one."""
    header, body, segments = ask_counted(web.port, method, target)
    assert header.startswith(b"HTTP/1.1 ")
    assert (len(body) > 0) == (method == "GET")
    assert segments == 1


def test_the_workers_of_an_instance_have_boots_of_their_own(start_web: StartWeb) -> None:
    web = start_web(BULKHEAD_WORKERS="2")
    client = program(web.port)
    boots: set[str] = set()

    def both_answered() -> bool:
        with ThreadPoolExecutor(8) as pool:
            boots.update(pool.map(lambda _: client.get("/whoami").headers["X-Boot"], range(8)))
        return len(boots) == 2

    wait_until("both workers have answered", both_answered)
    assert {int(boot.partition(".")[0]) for boot in boots} == set(web.workers())


def test_sigterm_ends_a_worker_that_was_forked_a_moment_ago(
    start_web: StartWeb, tmp_path: Path
) -> None:
    """Its master's handlers are still in place then, and would swallow the signal."""
    conf = tmp_path / "gunicorn.conf.py"
    conf.write_text(
        (ROOT / CONF).read_text()
        + """
def post_fork(server, worker):
    if worker.age == 1:
        os.kill(os.getpid(), 15)
"""
    )
    web = start_web(conf=conf, BULKHEAD_WORKERS="1")
    (successor,) = web.workers()
    first = re.findall(r"Worker \(pid:(\d+)\) was sent SIGTERM", web.log.read_text())
    assert len(first) == 1
    assert int(first[0]) != successor


def test_sigterm_lets_requests_in_flight_finish(start_web: StartWeb, ledger: LedgerStub) -> None:
    web = start_web(BULKHEAD_API_TIMEOUT_S="10")
    ledger.orders = Orders(delay_s=1.0)
    with ThreadPoolExecutor(5) as pool:
        slow = [pool.submit(program(web.port).get, "/") for _ in range(5)]
        wait_until("all calls in flight", lambda: len(ledger.asked) == 5)
        started = time.monotonic()
        web.send(signal.SIGTERM)
        wait_until("nothing accepts any more", lambda: not accepts(web.port), 0.5)
        assert [future.result().status for future in slow] == [200] * 5
    assert web.wait() == 0
    assert time.monotonic() - started < 2.0


def test_requests_that_take_longer_than_the_grace_time_are_dropped(
    start_web: StartWeb, ledger: LedgerStub
) -> None:
    web = start_web(BULKHEAD_GRACE_S="0.5", BULKHEAD_API_TIMEOUT_S="10")
    ledger.orders = Orders(delay_s=3.0)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(program(web.port).get, "/")
        wait_until("the call in flight", lambda: len(ledger.asked) == 1)
        started = time.monotonic()
        web.send(signal.SIGTERM)
        assert web.wait() == 0
        assert 0.5 <= time.monotonic() - started < 1.4
        with pytest.raises(ConnectionError):
            slow.result()
    assert "drops 1 requests: not done after 0.5 s" in web.log.read_text()


def test_a_name_that_nobody_resolves_delays_no_end(start_web: StartWeb) -> None:
    """As in a container whose proxy has gone: the look-up waits in a thread, for minutes."""
    with silence() as prefix, ThreadPoolExecutor() as pool:
        web = start_web(prefix=prefix, BULKHEAD_PROXY_URL=f"http://{NAME}:80")
        pages = [pool.submit(program(web.port).get, "/") for _ in range(3)]
        assert {page.result().status for page in pages} <= {502, 503, 504}
        started = time.monotonic()
        web.send(signal.SIGTERM)
        assert web.wait() == 0
        assert time.monotonic() - started < 4


def test_a_draining_worker_says_so_on_the_connections_it_has(
    start_web: StartWeb, ledger: LedgerStub
) -> None:
    web = start_web(BULKHEAD_WORKERS="1", BULKHEAD_API_TIMEOUT_S="10")
    kept = HTTPConnection("127.0.0.1", web.port, timeout=10)
    kept.request("GET", "/readyz")
    assert kept.getresponse().read().count(b'"ready"') == 1
    ledger.orders = Orders(delay_s=1.0)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(program(web.port).get, "/")
        wait_until("the call in flight", lambda: len(ledger.asked) == 1)
        web.send(signal.SIGTERM)
        wait_until("nothing accepts any more", lambda: not accepts(web.port), 0.5)
        kept.request("GET", "/readyz")
        answer = kept.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (503, "close")
        assert b'"draining"' in answer.read()
        assert slow.result().status == 200
    kept.close()


def test_idle_connections_do_not_hold_up_the_end(start_web: StartWeb) -> None:
    web = start_web(BULKHEAD_GRACE_S="10")
    idle = [HTTPConnection("127.0.0.1", web.port, timeout=10) for _ in range(8)]
    for connection in idle[:6]:
        connection.request("GET", "/whoami")
        assert connection.getresponse().read()
    for connection in idle[6:]:
        connection.connect()  # and never sends a request
    started = time.monotonic()
    web.send(signal.SIGTERM)
    assert web.wait() == 0
    assert time.monotonic() - started < 1.5
    for connection in idle:
        assert connection.sock.recv(1) == b"", "closed without a word"
        connection.close()


def test_connections_that_nobody_accepted_yet_are_answered_before_the_end(
    start_web: StartWeb,
) -> None:
    """The kernel has accepted them; closing the listener over them would reset them."""
    web = start_web(BULKHEAD_WORKERS="1")
    (worker,) = web.workers()
    os.kill(worker, signal.SIGSTOP)
    with ExitStack() as cleanup:
        cleanup.callback(resume, worker)
        wait_until("the worker has stopped", lambda: state(worker) == "T")
        waiting = [
            cleanup.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=10))
            for _ in range(20)
        ]
        for connection in waiting:
            connection.sendall(b"GET /whoami HTTP/1.1\r\nHost: x\r\n\r\n")
        web.send(signal.SIGTERM)
        wait_until("the master has passed it on", lambda: pending(worker, signal.SIGTERM))
        resume(worker)
        for connection in waiting:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    assert web.wait() == 0


def test_workers_whose_master_was_killed_free_the_port_and_finish(
    start_web: StartWeb, ledger: LedgerStub
) -> None:
    web = start_web(BULKHEAD_API_TIMEOUT_S="10")
    orphans = web.workers()
    ledger.orders = Orders(delay_s=1.0)
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(program(web.port).get, "/") for _ in range(4)]
        wait_until("all calls in flight", lambda: len(ledger.asked) == 4)
        web.send(signal.SIGKILL)
        web.wait()
        wait_until("nothing accepts any more", lambda: not accepts(web.port))
        successor_serves(web)
        assert [future.result().status for future in slow] == [200] * 4
    wait_until("the orphans are gone", lambda: not any(alive(pid) for pid in orphans), 2.0)


def test_workers_that_are_to_serve_on_without_their_master_do_until_told_to_end(
    start_web: StartWeb,
) -> None:
    web = start_web(BULKHEAD_ORPHAN_S="60")
    orphans = web.workers()
    web.send(signal.SIGKILL)
    web.wait()
    for _ in range(30):
        assert program(web.port).get("/whoami").json()["pid"] in orphans
    for pid in orphans:
        os.kill(pid, signal.SIGTERM)
    wait_until("they have ended", lambda: not any(alive(pid) for pid in orphans), 5.0)


def test_workers_that_nobody_lets_go_do_not_serve_for_ever(start_web: StartWeb) -> None:
    web = start_web(BULKHEAD_ORPHAN_S="0.5")
    orphans = web.workers()
    web.send(signal.SIGKILL)
    web.wait()
    wait_until("they have ended", lambda: not any(alive(pid) for pid in orphans), 5.0)
    assert "serves for 0.5 s more" in web.log.read_text()


def successor_serves(web: WebInstance) -> None:
    """Start a new master on the same port, as a supervisor would, while the orphans still work."""
    web.log.unlink()
    web.start()
    assert program(web.port).get("/whoami").json()["pid"] in web.workers()
    assert "in use" not in web.log.read_text(), "the port was free, not tried again later"


def resume(pid: int) -> None:
    """Let a stopped process run on, if it still exists."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def pending(pid: int, number: signal.Signals) -> bool:
    """Whether the signal waits for the process to run again (proc(5), ShdPnd)."""
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 (one line of a live file)
        line = next(line for line in status if line.startswith("ShdPnd:"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
