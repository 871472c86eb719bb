"""The request queue of the watched balancer: who waits, for how long, and in which order.

The test is the watchdog: it starts and kills the instances and tells nginx of them.
"""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bulkhead import clock
from bulkhead.testing import wait_until
from tests.support.crowd import crowd, statuses, wait_for_busy, wait_for_in_flight
from tests.support.watched import Execution, Watched, watched

pytestmark = pytest.mark.live

ONE_WORKER = "proxy.workers=1"


# Nobody is alive.


def test_a_total_outage_shorter_than_the_queue_time_costs_nobody_a_failure(tmp_path: Path) -> None:
    """Of both classes: while nobody is alive nothing is sent, so a POST without a key waits too."""
    with watched(tmp_path / "home") as proxy:
        proxy.tell_all("down")
        pool, answers = crowd(
            60,
            lambda n: proxy.ask("/api/", "POST" if n % 2 else "GET", body=b"x" if n % 2 else None),
        )
        wait_for_busy(proxy, 60)
        proxy.serve()
        assert not any(answer.done() for answer in answers), "served by whom nginx calls dead"
        proxy.tell_all("up")
        told = clock.now()
        with pool:
            assert statuses(answers) == {200: 60}
        assert clock.now() - told < 1.0, "who waits goes the moment somebody is up"
        rows = proxy.rows(60)
        assert all(row.queued > 0 and row.statuses == "200" for row in rows), "one try each"
        assert {row.gave_up for row in rows} == {""}


def test_the_request_that_came_first_goes_first(tmp_path: Path) -> None:
    with watched(tmp_path / "home", ONE_WORKER, "services.api.max_in_flight=1", count=1) as proxy:
        proxy.serve()
        proxy.tell_all("down")
        pool = ThreadPoolExecutor(12)
        answers = []
        for number in range(12):
            answers.append(pool.submit(proxy.ask, f"/api/{number}"))
            wait_for_busy(proxy, number + 1)
        proxy.tell_all("up")
        with pool:
            assert statuses(answers) == {200: 12}
        assert [one.path for one in proxy.executions()] == [f"/api/{n}" for n in range(12)]


def test_a_wait_without_instances_ends_with_the_reason(tmp_path: Path) -> None:
    with watched(tmp_path / "home", "proxy.queue_timeout_s=0.3") as proxy:
        proxy.tell_all("down")
        begun = clock.now()
        answer = proxy.ask()
        took = clock.now() - begun
        assert (answer.status, answer.instance) == (503, "proxy")
        assert answer.headers["Retry-After"] == "1"
        assert answer.json()["error_code"] == "no_live_instance"
        assert 0.3 <= took < 0.6
        page = proxy.ask(headers={"Accept": "text/html"})
        assert b"<h1>503</h1>" in page.body
        first, _ = proxy.rows(2)
        assert (first.gave_up, first.addrs, first.status) == ("down_queue_timeout", "", 503)
        assert first.queued == pytest.approx(took, abs=0.1)


def test_all_waits_of_one_request_count_together(tmp_path: Path) -> None:
    """It waits, its instance dies with it, and it waits again: for what is left of its time."""
    with watched(tmp_path / "home", "proxy.queue_timeout_s=1.2", count=1) as proxy:
        proxy.tell_all("down")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(proxy.ask, "/api/?wait=60")
            wait_for_busy(proxy, 1)
            time.sleep(0.8)
            proxy.serve()
            proxy.tell_all("up")
            wait_for_in_flight(proxy, 1)
            proxy.kill()
            proxy.tell_all("down")
            assert answer.result().status == 503
        (row,) = proxy.rows(1)
        assert row.gave_up == "down_queue_timeout"
        assert row.statuses == "502", "one try, which died"
        assert row.queued == pytest.approx(1.2, abs=0.2)


def test_no_more_wait_than_may(tmp_path: Path) -> None:
    """queue_max is over all workers: each has its share, so with one of two at least its share."""
    with watched(
        tmp_path / "home", "proxy.queue_timeout_s=1", "proxy.queue_max=10", ONE_WORKER
    ) as proxy:
        proxy.tell_all("down")
        begun = clock.now()
        pool, answers = crowd(25, lambda n: proxy.ask(f"/api/{n}"))
        with pool:
            assert statuses(answers) == {503: 25}
        assert clock.now() - begun < 2
        gave_up = Counter(row.gave_up for row in proxy.rows(25))
        assert gave_up == {"down_queue_full": 15, "down_queue_timeout": 10}
        assert all(row.took < 0.5 for row in proxy.rows(25) if row.gave_up == "down_queue_full")
        assert proxy.ask().headers["Retry-After"] == "1", "the places are free again"


def test_queue_max_zero_is_no_queue(tmp_path: Path) -> None:
    with watched(tmp_path / "home", "proxy.queue_max=0") as proxy:
        proxy.tell_all("down")
        assert proxy.ask().status == 503
        assert [row.gave_up for row in proxy.rows(1)] == ["down_queue_full"]


def test_a_client_that_leaves_waits_no_longer(tmp_path: Path) -> None:
    """Its place is free, and nothing is executed for it when an instance is back."""
    with watched(tmp_path / "home", "proxy.queue_max=1", ONE_WORKER) as proxy:
        proxy.serve()
        proxy.tell_all("down")
        for number in range(3):
            with socket.create_connection(("127.0.0.1", int(proxy.url.split(":")[-1]))) as client:
                client.sendall(f"GET /api/{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                wait_until(f"{number} waits", lambda: proxy.busy() == 1)
            assert len(proxy.rows(number + 1)) == number + 1, "it has left"
        proxy.tell_all("up")
        assert proxy.ask("/api/stays").status == 200
        assert [one.path for one in proxy.executions()] == ["/api/stays"]
        assert [row.status for row in proxy.rows(4)] == [499, 499, 499, 200]


def test_a_reload_fails_no_request_that_waits(tmp_path: Path) -> None:
    """Workers that are to end serve their waiters as soon as an instance is back."""
    with watched(tmp_path / "home") as proxy:
        proxy.serve()
        proxy.tell_all("down")
        pool, answers = crowd(20, lambda n: proxy.ask(f"/api/{n}"))
        wait_for_busy(proxy, 20)
        old = set(proxy.workers())
        proxy.signal_nginx(signal.SIGHUP)
        wait_until("new workers", lambda: set(proxy.workers()) - old)
        proxy.tell_all("up")
        with pool:
            assert statuses(answers) == {200: 20}
        assert {row.worker for row in proxy.rows(20)} <= old


# All are busy.


@pytest.mark.parametrize("workers", [1, 2])
def test_no_instance_ever_has_more_than_max_in_flight(tmp_path: Path, workers: int) -> None:
    """12 requests take the 3 x 4 places; 36 more come, and get them one by one."""
    settings = (
        f"proxy.workers={workers}",
        "services.api.max_in_flight=4",
        "proxy.queue_busy_timeout_s=20",
    )
    with watched(tmp_path / "home", *settings) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        pool, answers = crowd(12, lambda n: proxy.ask(f"/api/{n}?wait=1"))
        with pool:
            wait_for_in_flight(proxy, 12)
            others, more = crowd(36, lambda n: proxy.ask(f"/api/{n}?wait=0.05"))
            with others:
                assert statuses(answers + more) == {200: 48}
        assert max(one.now for one in proxy.executions()) == 4, "all places used, and no more"
        assert set(proxy.in_flight().values()) == {0}
        assert sum(row.queued > 0 for row in proxy.rows(48)) == 36


def test_a_wait_for_busy_instances_ends_with_the_reason(tmp_path: Path) -> None:
    settings = (
        ONE_WORKER,
        "services.api.max_in_flight=1",
        "proxy.queue_busy_timeout_s=0.2",
        "proxy.queue_timeout_s=9",
    )
    with watched(tmp_path / "home", *settings, count=1) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        pool, answers = crowd(3, lambda n: proxy.ask(f"/api/{n}?wait=1"))
        with pool:
            assert statuses(answers) == {200: 1, 503: 2}
        (late,) = {row.gave_up for row in proxy.rows(3)} - {""}
        assert late == "busy_queue_timeout"
        refused = next(answer.result() for answer in answers if answer.result().status == 503)
        assert refused.json()["error_code"] == "overloaded"
        assert refused.headers["Retry-After"] == "1"
        assert all(0.2 <= row.queued < 0.5 for row in proxy.rows(3) if row.gave_up)


def test_a_killed_worker_leaks_no_place(tmp_path: Path) -> None:
    """nginx's own balancer would count them until it is restarted."""
    settings = ("services.api.max_in_flight=2", "proxy.queue_busy_timeout_s=5")
    alert = r"exited on signal 9|open socket"
    with watched(tmp_path / "home", *settings, count=2, alerts=alert) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        pool = ThreadPoolExecutor(4)
        answers = [pool.submit(proxy.ask, f"/api/{n}?wait=60") for n in range(4)]
        wait_for_in_flight(proxy, 4)
        for worker in proxy.workers():
            os.kill(worker, signal.SIGKILL)
        with pool:
            assert all(isinstance(answer.exception(), OSError) for answer in answers)
        wait_for_in_flight(proxy, 0)
        proxy.tell_all("up")
        pool, served = crowd(4, lambda n: proxy.ask(f"/api/{n}?wait=0.2"))
        with pool:
            assert statuses(served) == {200: 4}
        assert all(row.queued == 0 for row in proxy.rows(4))


def test_a_slow_client_of_an_answer_that_nginx_stores_holds_no_place(tmp_path: Path) -> None:
    settings = ("services.api.max_in_flight=1", "proxy.answer_file_kb=8000")
    with watched(tmp_path / "home", *settings, count=1) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        with slow_reader(proxy, "/api/?bytes=8000000"):
            assert proxy.ask("/api/next").status == 200
            assert proxy.rows(1)[0].target == "/api/next", "the slow one is not finished"


def test_a_slow_client_of_a_larger_one_holds_its_place_and_no_disk(tmp_path: Path) -> None:
    """The instance is not done: it waits until nginx takes the rest."""
    settings = (
        "services.api.max_in_flight=1",
        "proxy.answer_file_kb=100",
        "proxy.queue_busy_timeout_s=0.2",
    )
    with watched(tmp_path / "home", *settings, count=1) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        with slow_reader(proxy, "/api/?bytes=30000000"):
            assert proxy.ask("/api/next").status == 503
            assert proxy.in_flight() == {"api-1": 1}
            assert proxy.stored() <= 100 * 1024
        wait_for_in_flight(proxy, 0)
        assert proxy.ask("/api/next").status == 200


@contextmanager
def slow_reader(proxy: Watched, target: str) -> Iterator[None]:
    """A client that reads the status of its answer and no more."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with client:
        client.connect(("127.0.0.1", int(proxy.url.split(":")[-1])))
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        yield


def test_a_client_that_hangs_up_leaves_its_place_to_nobody(tmp_path: Path) -> None:
    """The instance works on for it: until that is done it has no room for another."""
    settings = ("services.api.max_in_flight=2", "proxy.queue_busy_timeout_s=10")
    with watched(tmp_path / "home", *settings, count=1) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        for number in range(20):
            with suppress(TimeoutError):
                proxy.ask(f"/api/{number}?wait=0.3", timeout_s=0.05)
        assert proxy.ask("/api/last").status == 200
        executed = proxy.executions()
        assert max(one.now for one in executed) <= 2
        assert len(executed) < 15, "who left the queue is not executed"
        wait_for_in_flight(proxy, 0)
        assert len(proxy.rows(21)) == 21


def test_a_slow_upload_holds_no_place(tmp_path: Path) -> None:
    with watched(tmp_path / "home", "services.api.max_in_flight=1", count=1) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        with socket.create_connection(("127.0.0.1", int(proxy.url.split(":")[-1]))) as client:
            client.sendall(b"POST /api/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nfirst")
            wait_until("it is being read", lambda: proxy.busy() == 1)
            assert proxy.ask("/api/next").status == 200
            assert proxy.in_flight() == {"api-1": 0}
            client.sendall(b"last")
            assert client.recv(12) == b"HTTP/1.1 200"
        assert proxy.executions()[-1] == Execution("api-1", 1, "POST", "/api/slow", 9)
