"""The watched balancer: what is tried again, where, how often, and what that costs a budget."""

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bulkhead import clock
from bulkhead.testing import wait_until
from tests.support.crowd import crowd, statuses, wait_for_in_flight
from tests.support.watched import Execution, Watched, watched

pytestmark = pytest.mark.live

ONE_WORKER = "proxy.workers=1"
ROUND_ROBIN = "services.api.policy=round_robin"
KEYED = {"Idempotency-Key": "k-1"}


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
        assert (row.queued > 0, row.gave_up) == (True, "")


def test_a_non_retryable_request_that_may_have_been_read_is_not_sent_again(tmp_path: Path) -> None:
    with watched(tmp_path / "home", ONE_WORKER, ROUND_ROBIN) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        answer = proxy.ask("/api/x?die=api-1", method="POST", body=b"b")
        assert (answer.status, answer.instance) == (502, "proxy")
        assert answer.json()["error_code"] == "no_live_instance"
        assert len(proxy.executions()) == 1
        (row,) = proxy.rows(1)
        assert (row.request_class, row.statuses) == ("non_retryable", "502")


def test_nor_is_a_method_that_nginx_takes_for_harmless(tmp_path: Path) -> None:
    with watched(tmp_path / "home", ONE_WORKER, ROUND_ROBIN) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        assert proxy.ask("/api/x?die=api-1", method="MOVE").status == 502
        assert [one.method for one in proxy.executions()] == ["MOVE"]
        (row,) = proxy.rows(1)
        assert row.request_class == "non_retryable"


def test_nor_what_went_over_a_kept_connection_after_a_wait(tmp_path: Path) -> None:
    """nginx does not count a try that a kept connection has failed, and there is an idle instance.

    The first pass ends at a dead instance with nothing sent, and the request waits for a place.
    """
    settings = (
        ONE_WORKER,
        ROUND_ROBIN,
        "services.api.max_in_flight=1",
        "proxy.queue_busy_timeout_s=10",
    )
    with watched(tmp_path / "home", *settings) as proxy:
        proxy.serve("api-2", "api-3")
        proxy.tell(api_1="down")
        pool = ThreadPoolExecutor(3)
        for number in (1, 2):
            pool.submit(proxy.ask, "/api/?wait=0.3")
            wait_for_in_flight(proxy, number)
        proxy.tell(api_1="up")
        answer = pool.submit(proxy.ask, "/api/x?poison=1&before=0.5", method="POST", body=b"b")
        with pool:
            assert answer.result().status == 502
        assert [one.method for one in proxy.executions()] == ["GET", "GET", "POST"]
        (row,) = [row for row in proxy.rows(3) if row.request_class == "non_retryable"]
        assert row.statuses == "502 : 502, 502"  # refused; then closed, and nobody else was asked


def test_a_non_retryable_request_that_was_never_sent_waits(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("warm", [False, True], ids=["new connections", "kept connections"])
def test_a_request_that_kills_three_is_poison(tmp_path: Path, warm: bool) -> None:
    """Also over kept connections, for which nginx gives each try back."""
    with watched(tmp_path / "home", ONE_WORKER, ROUND_ROBIN, count=6) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        before = [proxy.ask().status for _ in range(12 if warm else 0)]
        answer = proxy.ask("/api/x?poison=1")
        assert (answer.status, answer.instance) == (502, "proxy")
        assert answer.json()["error_code"] == "poison"
        assert "Retry-After" not in answer.headers
        assert len(proxy.executions()) == len(before) + 3
        row = proxy.rows(len(before) + 1)[-1]
        assert row.gave_up == "poison"
        assert proxy.ask().status == 200, "three are left"


def test_a_request_under_which_two_hang_is_poison(tmp_path: Path) -> None:
    """The test is the watchdog that finds them: it tells nginx, and then it kills."""
    with watched(tmp_path / "home", ROUND_ROBIN, "services.api.hang_s=0.1", count=4) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(proxy.ask, "/api/?wait=60")
            for _ in range(2):
                kill_hung(proxy)
            assert answer.result().json()["error_code"] == "poison"
        assert len(proxy.executions()) == 2
        assert proxy.ask().status == 200


def test_an_instance_killed_without_hanging_has_one_more_try(tmp_path: Path) -> None:
    with watched(tmp_path / "home", ROUND_ROBIN, "services.api.hang_s=0.1", count=4) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(proxy.ask, "/api/?wait=60")
            kill_hung(proxy)
            wait_until("another has it", lambda: len(proxy.executions()) == 2)
            proxy.kill(busy_one(proxy))
            wait_until("a third has it", lambda: len(proxy.executions()) == 3)
            kill_hung(proxy)
            assert answer.result().json()["error_code"] == "poison"
        assert len(proxy.executions()) == 3


def test_a_long_request_in_a_storm_of_deaths_is_no_poison(tmp_path: Path) -> None:
    """As many processes die where it is not as where it is."""
    with watched(tmp_path / "home", "proxy.tries=9", "services.api.hang_s=10") as proxy:
        proxy.serve()
        proxy.tell_all("up")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(proxy.ask, "/api/?wait=1")
            for _ in range(3):
                wait_for_in_flight(proxy, 1)
                proxy.kill(*proxy.names)
                proxy.tell_all("down")
                proxy.serve()
                proxy.tell_all("up")
            assert answer.result().status == 200
        (row,) = proxy.rows(1)
        assert row.gave_up == ""


def test_a_suspect_is_alone(tmp_path: Path) -> None:
    """Four requests were in the process that hung; only one of them hangs the next."""
    settings = (ONE_WORKER, "services.api.hang_s=0.1", "proxy.queue_busy_timeout_s=10")
    with watched(tmp_path / "home", *settings, count=2) as proxy:
        proxy.serve()
        proxy.tell(api_1="up", api_2="drained")
        pool, answers = crowd(4, lambda n: proxy.ask(f"/api/{n}?wait={60 if n == 2 else 0.3}"))
        wait_for_in_flight(proxy, 4)
        time.sleep(0.15)  # longer than hang_s
        proxy.tell(api_1="hung", api_2="up")
        proxy.kill("api-1")
        proxy.tell(api_1="down")
        with pool:
            while not answers[2].done():
                if "2" in [one.path[-1] for one in proxy.executions()[4:]]:
                    kill_hung(proxy)
                    proxy.serve("api-2")
                    proxy.tell(api_2="up")
            assert statuses(answers) == {200: 3, 502: 1}
        assert max(one.now for one in proxy.executions()[4:]) == 1


def busy_one(proxy: Watched) -> str:
    """The instance that has a request."""
    wait_for_in_flight(proxy, 1)
    return next(name for name, count in proxy.in_flight().items() if count)


def kill_hung(proxy: Watched) -> None:
    """End the instance that has had a request for longer than hang_s, as the watchdog does."""
    name = busy_one(proxy)
    time.sleep(0.15)
    proxy.tell_one(name, "hung")
    proxy.kill(name)
    proxy.tell_one(name, "down")


def test_an_answer_of_502_costs_the_budget(tmp_path: Path) -> None:
    """It has the status of a death, and has taken an instance's time."""
    settings = (ONE_WORKER, "proxy.retry_burst=3", "proxy.retry_share=0", "proxy.tries=2")
    with watched(tmp_path / "home", *settings) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        for _ in range(10):
            assert proxy.ask("/api/?status=502").instance.startswith("api-")
        assert [row.statuses == "502, 502" for row in proxy.rows(10)] == [True] * 3 + [False] * 7
        assert len(proxy.executions()) == 13


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


def test_an_instance_that_failed_a_moment_ago_is_the_last_choice(tmp_path: Path) -> None:
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
    settings = (
        ONE_WORKER,
        ROUND_ROBIN,
        "services.api.max_in_flight=1",
        "proxy.queue_busy_timeout_s=10",
    )
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
