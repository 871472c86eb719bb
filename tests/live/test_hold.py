"""The watched balancer alone: who waits, for how long, in which order, and what is never exceeded.

The test is the watchdog: it starts and kills the instances and tells nginx of them.
"""

import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bulkhead import clock
from bulkhead.control import peers
from bulkhead.control.nginx import generation
from bulkhead.control.unix import UnixConnection
from bulkhead.errors import StateError
from tests.support.http import Answer
from tests.support.waiting import wait_until
from tests.support.watched import Execution, Watched, watched

pytestmark = pytest.mark.live

ONE_WORKER = "proxy.workers=1"
ROUND_ROBIN = "services.api.policy=round_robin"
KEYED = {"Idempotency-Key": "k-1"}


def crowd(
    count: int, ask: Callable[[int], Answer]
) -> tuple[ThreadPoolExecutor, list[Future[Answer]]]:
    """`count` clients at once, each with a request of its own."""
    pool = ThreadPoolExecutor(count)
    return pool, [pool.submit(ask, number) for number in range(count)]


def statuses(answers: list[Future[Answer]]) -> Counter[int]:
    return Counter(answer.result().status for answer in answers)


def wait_for_busy(proxy: Watched, count: int) -> None:
    """Until nginx has so many requests, that wait or are with an instance."""
    wait_until(f"nginx has {count} requests", lambda: proxy.busy() >= count)


def wait_for_in_flight(proxy: Watched, count: int) -> None:
    """Until the instances have so many requests, as nginx counts them."""
    wait_until(f"{count} in flight", lambda: sum(proxy.in_flight().values()) == count)


def ask_internal(proxy: Watched, method: str, target: str, body: str = "") -> tuple[int, str]:
    """One request to the internal listener."""
    connection = UnixConnection(proxy.home.internal_socket, 5)
    try:
        connection.request(method, target, body or None)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def ask_peers(proxy: Watched, method: str, body: str) -> tuple[int, str]:
    return ask_internal(proxy, method, "/peers", body)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One for the tests that only tell nginx what it refuses."""
    with watched(tmp_path_factory.mktemp("peers") / "home") as running:
        yield running


# Nobody is alive.


def test_a_total_outage_shorter_than_the_hold_time_costs_nobody_a_failure(tmp_path: Path) -> None:
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
        assert all(row.held > 0 and row.statuses == "200" for row in rows), "one try each"
        assert {row.gave_up for row in rows} == {""}


def test_who_came_first_goes_first(tmp_path: Path) -> None:
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


def test_who_waited_for_too_long_is_told_so(tmp_path: Path) -> None:
    with watched(tmp_path / "home", "proxy.hold_s=0.3") as proxy:
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
        assert (first.gave_up, first.addrs, first.status) == ("dead_late", "", 503)
        assert first.held == pytest.approx(took, abs=0.1)


def test_no_more_wait_than_may(tmp_path: Path) -> None:
    """hold_max is over all workers: each has its share, so with one of two at least its share."""
    with watched(tmp_path / "home", "proxy.hold_s=1", "proxy.hold_max=10", ONE_WORKER) as proxy:
        proxy.tell_all("down")
        begun = clock.now()
        pool, answers = crowd(25, lambda n: proxy.ask(f"/api/{n}"))
        with pool:
            assert statuses(answers) == {503: 25}
        assert clock.now() - begun < 2
        gave_up = Counter(row.gave_up for row in proxy.rows(25))
        assert gave_up == {"dead_full": 15, "dead_late": 10}
        assert all(row.took < 0.5 for row in proxy.rows(25) if row.gave_up == "dead_full")
        assert proxy.ask().headers["Retry-After"] == "1", "the places are free again"


def test_hold_max_zero_is_no_hold_tier(tmp_path: Path) -> None:
    with watched(tmp_path / "home", "proxy.hold_max=0") as proxy:
        proxy.tell_all("down")
        assert proxy.ask().status == 503
        assert [row.gave_up for row in proxy.rows(1)] == ["dead_full"]


def test_a_client_that_leaves_waits_no_longer(tmp_path: Path) -> None:
    """Its place is free, and nothing is executed for it when an instance is back."""
    with watched(tmp_path / "home", "proxy.hold_max=1", ONE_WORKER) as proxy:
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


def test_a_reload_lets_nobody_down_who_waits(tmp_path: Path) -> None:
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
    settings = (f"proxy.workers={workers}", "services.api.max_in_flight=4", "proxy.queue_s=20")
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
        assert sum(row.held > 0 for row in proxy.rows(48)) == 36


def test_who_is_queued_for_too_long_is_told_so(tmp_path: Path) -> None:
    settings = (ONE_WORKER, "services.api.max_in_flight=1", "proxy.queue_s=0.2", "proxy.hold_s=9")
    with watched(tmp_path / "home", *settings, count=1) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        pool, answers = crowd(3, lambda n: proxy.ask(f"/api/{n}?wait=1"))
        with pool:
            assert statuses(answers) == {200: 1, 503: 2}
        (late,) = {row.gave_up for row in proxy.rows(3)} - {""}
        assert late == "busy_late"
        refused = next(answer.result() for answer in answers if answer.result().status == 503)
        assert refused.json()["error_code"] == "overloaded"
        assert refused.headers["Retry-After"] == "1"
        assert all(0.2 <= row.held < 0.5 for row in proxy.rows(3) if row.gave_up)


def test_a_killed_worker_leaks_no_place(tmp_path: Path) -> None:
    """nginx's own balancer would count them until it is restarted."""
    settings = ("services.api.max_in_flight=2", "proxy.queue_s=5")
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
        assert all(row.held == 0 for row in proxy.rows(4))


def test_a_slow_client_holds_no_place(tmp_path: Path) -> None:
    """Who reads nothing of a large answer has cost the instance no more than its making."""
    with watched(tmp_path / "home", "services.api.max_in_flight=1", count=1) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with client:
            client.connect(("127.0.0.1", int(proxy.url.split(":")[-1])))
            client.sendall(b"GET /api/?bytes=30000000 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
            assert proxy.ask("/api/next").status == 200
            assert proxy.rows(1)[0].target == "/api/next", "the slow one is not finished"


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


# Trying again.


def test_a_keyed_post_is_repeated_with_its_method_and_body(tmp_path: Path) -> None:
    """The only instance dies while it has it; its next life gets all of it again."""
    with watched(tmp_path / "home", count=1) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        pool = ThreadPoolExecutor(1)
        body = b"b" * 200_000  # more than fits in memory: nginx sends it from a file, twice
        target = "/api/x?die=api-1"
        answer = pool.submit(proxy.ask, target, method="POST", body=body, headers=KEYED)
        proxy.buried("api-1")
        proxy.tell_all("down")
        proxy.serve()
        proxy.tell_all("up")
        with pool:
            assert answer.result().status == 200
        assert proxy.executions() == [Execution("api-1", 1, "POST", "/api/x", 200_000)] * 2
        (row,) = proxy.rows(1)
        # Until it is told that nobody is up, nginx may try the dead one again after 0.1 s.
        assert re.fullmatch("502( : 502)* : 200", row.statuses)
        assert (row.held > 0, row.gave_up) == (True, "")


def test_what_may_have_been_read_of_class_once_is_not_sent_again(tmp_path: Path) -> None:
    with watched(tmp_path / "home", ONE_WORKER, ROUND_ROBIN) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        answer = proxy.ask("/api/x?die=api-1", method="POST", body=b"b")
        assert (answer.status, answer.instance) == (502, "proxy")
        assert answer.json()["error_code"] == "no_live_instance"
        assert len(proxy.executions()) == 1
        (row,) = proxy.rows(1)
        assert (row.request_class, row.statuses) == ("once", "502")


def test_what_was_never_sent_of_class_once_waits(tmp_path: Path) -> None:
    """Every connect is refused before the watchdog has told nginx: nothing was sent to anybody."""
    with watched(tmp_path / "home") as proxy:
        proxy.tell_all("up")
        pool = ThreadPoolExecutor(1)
        answer = pool.submit(proxy.ask, "/api/x", method="POST", body=b"b")
        wait_until("it was refused", lambda: "refused" in proxy.home.nginx_log.read_text())
        proxy.tell_all("down")
        proxy.serve()
        proxy.tell_all("up")
        with pool:
            assert answer.result().status == 200
        (row,) = proxy.rows(1)
        assert row.statuses.startswith("502, 502, 502 : ")
        assert len(proxy.executions()) == 1


def test_a_request_that_kills_everyone_ends(tmp_path: Path) -> None:
    """With a clean 502, no more than `tries` instances at once, and three times as many in all."""
    with watched(tmp_path / "home", "proxy.tries=2") as proxy:
        proxy.serve()
        proxy.tell_all("up")
        answer = proxy.ask("/api/x?poison=1", timeout_s=30)
        assert (answer.status, answer.instance) == (502, "proxy")
        assert len(proxy.executions()) == 3, "each once: nobody starts them again here"
        (row,) = proxy.rows(1)
        assert row.statuses.split(" : ")[0] == "502, 502"
        assert row.statuses.count("502") == 6
        assert row.gave_up == ""


def test_retries_end_with_their_budget(tmp_path: Path) -> None:
    """All instances answer 503. Three retries are there at first, every fourth request adds one."""
    settings = (ONE_WORKER, "proxy.retry_burst=3", "proxy.retry_share=0.25", "proxy.tries=2")
    with watched(tmp_path / "home", *settings) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        answers = [proxy.ask("/api/?status=503") for _ in range(40)]
        assert all(answer.instance.startswith("api-") for answer in answers), "their own answers"
        retried = [row.statuses == "503, 503" for row in proxy.rows(40)]
        assert retried == [n in (0, 1, 2) or (n > 2 and n % 4 == 0) for n in range(40)]


def test_what_took_an_instances_time_needs_a_budget(tmp_path: Path) -> None:
    settings = (ONE_WORKER, ROUND_ROBIN, "proxy.retry_burst=0", "services.api.timeout_s=0.3")
    with watched(tmp_path / "home", *settings) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        answer = proxy.ask("/api/?wait=5")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["error_code"] == "retry_budget"
        (row,) = proxy.rows(1)
        assert (row.gave_up, row.statuses) == ("retry_budget", "504")


def test_a_death_needs_no_budget(tmp_path: Path) -> None:
    settings = (ONE_WORKER, ROUND_ROBIN, "proxy.retry_burst=0")
    with watched(tmp_path / "home", *settings) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        assert proxy.ask("/api/?die=api-1").status == 200
        (row,) = proxy.rows(1)
        assert (row.gave_up, row.statuses) == ("", "502 : 200")


def test_who_failed_a_moment_ago_is_the_last_choice(tmp_path: Path) -> None:
    """A dead instance that nginx calls up costs one refused connect in half a second, not many."""
    with watched(tmp_path / "home", ONE_WORKER, ROUND_ROBIN) as proxy:
        proxy.serve("api-2", "api-3")
        proxy.tell_all("up")
        assert {proxy.ask().status for _ in range(12)} == {200}
        assert Counter(row.statuses for row in proxy.rows(12)) == {"502, 200": 1, "200": 11}
        proxy.serve("api-1")
        proxy.tell_all("up")  # with another pid: what its last life did is forgotten
        assert {proxy.ask().instance for _ in range(3)} == set(proxy.names)


def test_an_instance_that_has_just_died_draws_nobody(tmp_path: Path) -> None:
    """It is empty and the other one is full: who comes waits for the full one."""
    settings = (ONE_WORKER, ROUND_ROBIN, "services.api.max_in_flight=1", "proxy.queue_s=10")
    with watched(tmp_path / "home", *settings, count=2) as proxy:
        proxy.serve("api-2")
        proxy.tell_all("up")
        begun = clock.now()
        pool, answers = crowd(8, lambda n: proxy.ask(f"/api/{n}?wait=0.2"))
        with pool:
            assert statuses(answers) == {200: 8}
        windows = 1 + int((clock.now() - begun) / 0.5)
        refused = sum(row.statuses.count("502") for row in proxy.rows(8))
        assert 1 <= refused <= windows, "one refused connect in half a second"


# The policies, exactly.


def turns(proxy: Watched, count: int, target: str = "/api/") -> str:
    return "".join(proxy.ask(target).instance[-1] for _ in range(count))


def test_weights_are_spread_out_as_nginx_does_it(tmp_path: Path) -> None:
    with watched(tmp_path / "home", ONE_WORKER, ROUND_ROBIN) as proxy:
        proxy.weights["api-1"] = 5
        proxy.serve()
        proxy.tell_all("up")
        assert turns(proxy, 14) == "1121311" * 2
        proxy.tell(api_1="down")
        assert turns(proxy, 4) in ("2323", "3232")
        proxy.tell(api_2="out")
        assert turns(proxy, 3) == "333"
        proxy.tell(api_3="down")
        proxy.tell(api_2="up")
        assert turns(proxy, 3) == "222"


def test_least_conn_gives_to_who_has_fewest(tmp_path: Path) -> None:
    with watched(tmp_path / "home", "services.api.policy=least_conn") as proxy:
        proxy.serve()
        proxy.tell_all("up")
        pool = ThreadPoolExecutor(6)
        slow = []
        for number in range(1, 7):
            slow.append(pool.submit(proxy.ask, "/api/?wait=1"))
            wait_for_in_flight(proxy, number)
        assert set(proxy.in_flight().values()) == {2}
        with pool:
            assert statuses(slow) == {200: 6}


@pytest.mark.parametrize("consistent", ["true", "false"])
def test_hash_keeps_keys_and_gives_them_back(tmp_path: Path, consistent: str) -> None:
    settings = ("policy=hash", "hash_key=$arg_k", f"hash_consistent={consistent}")
    with watched(
        tmp_path / "home", *[f"services.api.{setting}" for setting in settings], count=4
    ) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        before = [turns(proxy, 2, f"/api/?k={key}") for key in range(60)]
        assert set(before) == {"11", "22", "33", "44"}, "the same key, the same instance"
        proxy.tell(api_4="down")
        during = [turns(proxy, 2, f"/api/?k={key}") for key in range(60)]
        moved = [old for old, new in zip(before, during, strict=True) if old != new]
        assert set(moved) == {"44"}, "only the keys of the one that is down move"
        assert "44" not in during
        proxy.tell(api_4="up")
        assert [turns(proxy, 2, f"/api/?k={key}") for key in range(60)] == before


def test_random_two_takes_the_one_with_fewer(tmp_path: Path) -> None:
    with watched(tmp_path / "home", "services.api.policy=random_two", count=2) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(proxy.ask, "/api/?wait=1")
            wait_for_in_flight(proxy, 1)
            (busy,) = [name for name, count in proxy.in_flight().items() if count]
            assert busy not in {proxy.ask().instance for _ in range(10)}
            assert slow.result().instance == busy


# What nginx is told.


def test_told_nothing_for_a_second_nginx_is_blind(tmp_path: Path) -> None:
    """Then it believes no `down`: who refuses moves the request on. Who is `out` stays out."""
    with watched(tmp_path / "home", ONE_WORKER, ROUND_ROBIN) as proxy:
        socket_path = proxy.home.internal_socket
        told = peers.look(socket_path)
        assert told
        assert not told.fresh
        assert {one.state for one in told.peers if one.service == "api"} == {"up"}
        proxy.serve("api-1", "api-3")
        proxy.tell(api_1="down", api_2="down", api_3="out")
        told = peers.look(socket_path)
        assert told
        assert told.fresh
        proxy.telling.clear()
        begun = clock.now()
        assert proxy.ask().instance == "api-1"
        assert 0.6 < clock.now() - begun < 1.5, "held until nginx is blind"
        told = peers.look(socket_path)
        assert told
        assert not told.fresh
        assert {proxy.ask().instance for _ in range(4)} == {"api-1"}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("", "there is no instance in it"),
        ("api api-1 127.0.0.1:1 1 up\n", "line 1 is not SERVICE NAME"),
        ("api api-1 127.0.0.1:1 1 up 0 0\n", "line 1 is not SERVICE NAME"),
        ("api api-1 127.0.0.1:1 1 UP 0\n", "line 1 is not SERVICE NAME"),
        ("api api-1 127.0.0.1:1 1 gone 0\n", "line 1 has a state that is none of"),
        ("api api-1 127.0.0.1:1 0 up 0\n", "line 1 has no weight"),
        ("api api-1 localhost:1 1 up 0\n", "line 1 has no IPv4 address and port"),
        ("api api-1 127.0.0.1:65536 1 up 0\n", "line 1 has no IPv4 address and port"),
        ("api api-1 127.0.0.300:80 1 up 0\n", "line 1 has no IPv4 address and port"),
        ("api web-1 127.0.0.1:1 1 up 0\n", "line 1 names an instance of another service"),
        (
            "api api-1 127.0.0.1:1 1 up 0\napi api-1 127.0.0.1:2 1 up 0\n",
            "line 2 names an instance for the second time",
        ),
    ],
)
def test_a_malformed_table_changes_nothing(proxy: Watched, body: str, complaint: str) -> None:
    before = peers.read(proxy.home.internal_socket)
    status, said = ask_peers(proxy, "PUT", body)
    assert status == 400
    assert said.startswith(complaint)
    assert said.count("\n") == 1
    assert peers.read(proxy.home.internal_socket) == before


def test_the_client_says_what_nginx_said(proxy: Watched) -> None:
    with pytest.raises(StateError, match="400 to PUT /peers: there is no instance in it"):
        peers.put(proxy.home.internal_socket, [])
    assert peers.read(proxy.home.path / "no.sock") == []
    assert ask_peers(proxy, "POST", "x")[0] == 405


def test_instances_are_reached_by_name_at_the_address_of_the_table(tmp_path: Path) -> None:
    with watched(tmp_path / "home", count=2) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        assert ask_internal(proxy, "GET", "/api-2/readyz?x=%2F")[0] == 200
        last = proxy.executions()[-1]
        assert (last.name, last.path) == ("api-2", "/readyz")
        assert ask_internal(proxy, "GET", "/api-3/readyz")[0] == 404
        proxy.add("api-3")
        proxy.serve("api-3")
        before = generation(proxy.home.internal_socket)
        proxy.tell(api_3="up")
        assert ask_internal(proxy, "GET", "/api-3/readyz")[0] == 200
        assert {proxy.ask().instance for _ in range(12)} == {"api-1", "api-2", "api-3"}
        assert generation(proxy.home.internal_socket) == before, "more instances are no reload"


def test_the_table_survives_a_reload(tmp_path: Path) -> None:
    with watched(tmp_path / "home") as proxy:
        proxy.tell(api_2="out")
        before = peers.read(proxy.home.internal_socket)
        old = set(proxy.workers())
        proxy.telling.clear()
        proxy.signal_nginx(signal.SIGHUP)
        wait_until("new workers alone", lambda: not set(proxy.workers()) & old)
        assert peers.read(proxy.home.internal_socket) == before


# A worker that is to end.


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
