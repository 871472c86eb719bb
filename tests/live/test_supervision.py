"""Who keeps the stack up is killed too: nothing that serves notices, and `down` still works."""

import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.proc import Process
from bulkhead.records import ProxyRow, WatchRow
from bulkhead.supervise import record
from bulkhead.testing import wait_until
from tests.live.test_lifecycle import assert_nothing_left, members
from tests.support.rows import rows_so_far
from tests.support.stack import ECHO, Stack, running_stack
from tests.support.trickle import trickle

pytestmark = pytest.mark.live


@contextmanager
def clients(stack: Stack) -> Iterator[list[object]]:
    """Requests all the time, a connection each; what did not come back as 200."""
    failed: list[object] = []
    over = threading.Event()
    done = 0

    def client() -> None:
        nonlocal done
        while not over.is_set():
            try:
                answer = stack.get("/api/")
            except OSError as error:
                failed.append(error)
                continue
            done += 1
            if answer.status != 200:
                failed.append(answer)

    thread = threading.Thread(target=client)
    thread.start()
    try:
        yield failed
        before = done
        wait_until("requests to the end", lambda: done > before + 20 or failed)
    finally:
        over.set()
        thread.join()


def leader(stack: Stack, name: str) -> Process:
    found = record.leader(stack.home, name)
    assert found, f"nobody leads {name}"
    return found


def supervisord(stack: Stack) -> Process:
    found = record.read(stack.home)
    assert found
    return found.supervisord


def kill(*victims: Process) -> None:
    for victim in victims:
        assert proc.send(victim, signal.SIGKILL)
    for victim in victims:
        assert proc.wait_gone(victim, 5)


def replaced(stack: Stack, dead: Process) -> Process:
    """The supervisord after this one, as soon as it has everything in hand."""
    wait_until("another supervisord", lambda: supervisord(stack) not in (dead, None))

    def adopted() -> bool:
        status = stack.bulkhead("status", "--json", check=False)
        if status.returncode != 0:
            return False
        programs = json.loads(status.stdout)["processes"][1:]
        return all(one["adopted"] and stands_in(stack, one["name"]) for one in programs)

    wait_until("everything is adopted", adopted)
    return supervisord(stack)


def stands_in(stack: Stack, name: str) -> bool:
    """Whether the new child of supervisord has looked, and found the leader alive.

    Were the leader killed before that, the child would simply lead: no restart that anybody saw.
    """
    return "this is its shim" in (stack.home.log / f"{name}.log").read_text()


def test_a_killed_supervisord_is_replaced_and_nobody_else_is(echo_stack: Stack) -> None:
    before = echo_stack.status()
    dead = supervisord(echo_stack)
    with clients(echo_stack) as failed:
        kill(dead)
        new = replaced(echo_stack, dead)
    assert failed == []
    after = echo_stack.status()
    assert after["supervisord"]["pid"] == new.pid
    for name, one in after.items():
        assert one["ready"], name
        if name != "supervisord":
            assert (one["pid"], one["workers"]) == (before[name]["pid"], before[name]["workers"])
        assert one["restarts"] == (name == "supervisord"), name
    text = echo_stack.bulkhead("status").stdout
    assert text.count(", adopted") == 8
    found = record.read(echo_stack.home)
    assert found
    assert found.session == dead.pid
    assert "up already" in echo_stack.bulkhead("up").stdout
    everything = members(echo_stack)
    echo_stack.bulkhead("down")
    assert_nothing_left(echo_stack, everything)


def test_what_was_adopted_is_replaced_when_it_dies(echo_stack: Stack) -> None:
    dead = supervisord(echo_stack)
    kill(dead)
    replaced(echo_stack, dead)
    with clients(echo_stack) as failed:
        for name in ("api-1", "nginx"):
            old = leader(echo_stack, name)
            kill(old)

            def back(name: str = name) -> bool:
                one = echo_stack.status()[name]
                return bool(one["ready"] and not one["adopted"] and one["restarts"] == 1)

            wait_until(f"{name} is back", back)
            assert leader(echo_stack, name) != old
    assert failed == []


def test_a_killed_nginx_master_is_missed_by_nobody(echo_stack: Stack) -> None:
    old = leader(echo_stack, "nginx")
    workers = proc.children(old.pid)
    with clients(echo_stack) as failed:
        kill(old)
        wait_until("another master", lambda: record.leader(echo_stack.home, "nginx"))
        wait_until("its workers alone", lambda: not any(map(proc.alive, workers)), timeout_s=20)
    assert failed == []
    wait_until("its note is gone, too", lambda: not any(echo_stack.home.orphans.iterdir()))
    assert echo_stack.status()["nginx"]["ready"]


def test_a_killed_gunicorn_master_is_missed_by_nobody(tmp_path: Path) -> None:
    """Not even by who asks this instance alone: its workers serve until the next master's do."""
    settings = ("services.api.instances=1", "services.web.instances=1", "services.web.workers=2")
    with running_stack(tmp_path / "home", settings) as stack:
        old = leader(stack, "web-1")
        workers = proc.children(old.pid)
        with trickle(stack.url) as load:
            kill(old)
            wait_until("its workers are gone", lambda: not any(map(proc.alive, workers)), 20)
        assert load.failures == []
        wait_until("their note is gone, too", lambda: not any(stack.home.orphans.iterdir()))
        assert stack.status()["web-1"]["ready"]
        assert [one for one in queued(stack) if one] == []


def queued(stack: Stack) -> list[float]:
    """How long nginx queued each request because nobody could take it."""
    return [one.queued for one in rows_so_far(stack.home.proxy_rows, ProxyRow)]


def every(stack: Stack) -> list[Process]:
    return members(stack)


def dead_supervisord(stack: Stack) -> list[Process]:
    return [supervisord(stack)]


def dead_watchdog(stack: Stack) -> list[Process]:
    watch = leader(stack, "watch")
    return [*proc.children(watch.pid), watch]


def dead_both(stack: Stack) -> list[Process]:
    return [*dead_watchdog(stack), supervisord(stack)]


def dead_masters(stack: Stack) -> list[Process]:
    return [*dead_both(stack), leader(stack, "nginx"), leader(stack, "api-1")]


@pytest.mark.parametrize(
    "victims", [every, dead_supervisord, dead_watchdog, dead_both, dead_masters]
)
def test_down_leaves_nothing_whoever_is_dead(
    echo_stack: Stack, victims: Callable[[Stack], list[Process]]
) -> None:
    everything = members(echo_stack)
    for victim in victims(echo_stack):
        proc.send(victim, signal.SIGKILL)
    echo_stack.bulkhead("down")
    assert_nothing_left(echo_stack, everything)


def test_up_after_everything_was_killed_at_once_simply_works(echo_stack: Stack) -> None:
    everything = members(echo_stack)
    for victim in everything:
        proc.send(victim, signal.SIGKILL)
    for victim in everything:
        proc.wait_gone(victim, 5)
    assert echo_stack.home.internal_socket.exists(), "it leaves its sockets"
    echo_stack.bulkhead("up")
    assert echo_stack.get("/api/").status == 200


def test_an_instance_that_cannot_start_is_shown_with_its_last_lines(tmp_path: Path) -> None:
    settings = [one for one in ECHO if "services.api" not in one]
    with running_stack(tmp_path / "home", settings) as stack:
        order = stack.home.admin / "api-2.crash"
        order.touch()
        kill(leader(stack, "api-2"))
        wait_until("it crashes", lambda: stack.status()["api-2"]["watched"] == "crashing", 20)
        done = stack.bulkhead("status", check=False)
        assert done.returncode == 1
        assert "api-2 keeps crashing; its log ends:" in done.stdout
        assert "services.api: " in done.stdout.partition("its log ends:")[2]
        order.unlink()
        wait_until("it is back", lambda: stack.status()["api-2"]["ready"], 20)
        assert "keeps crashing" not in stack.bulkhead("status").stdout


def test_a_proxy_that_takes_no_connection_has_new_workers(tmp_path: Path) -> None:
    """Clients hold all that nginx has; the watchdog's own connection to it would still work."""
    settings = (*ECHO, "proxy.connections=64", "proxy.header_timeout_s=3600", "proxy.grace_s=2")
    with running_stack(tmp_path / "home", settings) as stack, ExitStack() as held:
        stack.expected_alerts = "worker_connections are not enough"
        first = stack.status()["nginx"]["pid"]
        for _ in range(300):  # enough for both workers, however they share them
            client = socket.create_connection(("127.0.0.1", stack.ports[0]))
            held.enter_context(client)
            client.sendall(b"GET /api/ HTTP/1.1\r\nHos")
        wait_until("the watchdog sees it", lambda: blocked(stack), timeout_s=30)
        wait_until("somebody is served", lambda: is_served(stack), timeout_s=30)
        assert blocked(stack) == ["nginx"]
        assert stack.status()["nginx"]["pid"] == first, "its master stays"


def blocked(stack: Stack) -> list[str]:
    return [row.target for row in watch_rows(stack) if row.kind == "blocked"]


def is_served(stack: Stack) -> bool:
    try:
        return stack.get("/api/", timeout_s=1).status == 200
    except OSError:
        return False


def watch_rows(stack: Stack) -> list[WatchRow]:
    return rows_so_far(stack.home.watch_rows, WatchRow)
