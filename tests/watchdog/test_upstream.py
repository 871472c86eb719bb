"""The watchdog's connection to nginx: kept, given up, and never waited for."""

import errno
import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from bulkhead.clock import now, pause
from bulkhead.testing import free_ports, wait_until
from bulkhead.watchdog.upstream import EVERY_S, OWN_LACK, PROBE_EVERY_S, Probe, Publisher
from tests.watchdog.harness import FakeNginx

TABLE = "api api-1 127.0.0.1:1 1 up 7\n"
OTHER = "api api-1 127.0.0.1:1 1 down 0\n"


class Told:
    """A publisher in a loop of its own."""

    def __init__(self, path: Path) -> None:
        self.complaints: list[str] = []
        self.selector = selectors.DefaultSelector()
        self.publisher = Publisher(path, self.selector, self.complaints.append)

    def tell(self, table: str, workers: set[int], until: Callable[[], object]) -> None:
        """Tell this table, as the watchdog does, until something is so."""
        deadline = now() + 5
        while not until():
            assert now() < deadline
            self.publisher.publish(table, workers)
            for key, _ in self.selector.select(0.01):
                key.data()

    def answered(self) -> None:
        """Take nginx's next answer, however late it is: nobody gives it up meanwhile."""
        ready = self.selector.select(5)
        assert ready
        for key, _ in ready:
            key.data()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    one = Told(tmp_path / "internal.sock")
    yield one
    one.publisher.restart()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., FakeNginx]]:
    """Start an nginx that says it is these workers."""
    with ExitStack() as cleanup:

        def start(*pids: int) -> FakeNginx:
            nginx = FakeNginx(tmp_path / "internal.sock", *pids)
            cleanup.callback(nginx.close)
            return nginx

        yield start


def test_the_same_table_goes_out_at_its_pace_over_one_connection(
    told: Told, start: Callable[..., FakeNginx]
) -> None:
    nginx = start()
    for _ in range(3):
        told.publisher.publish(TABLE, set())
        told.answered()
        told.publisher.publish(TABLE, set())  # which is too soon
        pause(EVERY_S)
    told.publisher.publish(OTHER, set())
    while nginx.states() != {"api-1": "down"}:
        told.answered()
    times = [t for t, _ in nginx.tables]
    assert len(times) >= 4
    assert min(after - before for before, after in pairwise(times[:-1])) >= EVERY_S
    assert nginx.connections == 1


def test_another_table_does_not_wait_for_its_turn(
    told: Told, start: Callable[..., FakeNginx]
) -> None:
    nginx = start()
    told.publisher.publish(TABLE, set())
    told.answered()
    told.publisher.publish(OTHER, set())  # once: it is not asked again whether it is time by now
    told.answered()
    assert nginx.states() == {"api-1": "down"}


def test_workers_of_a_dead_nginx_are_passed_over(
    told: Told, start: Callable[..., FakeNginx]
) -> None:
    nginx = start(101, 102, 201)
    told.publisher.publish(TABLE, {201, 202})
    for _ in range(3):
        told.answered()
    told.publisher.publish(OTHER, {201, 202})
    told.answered()
    assert nginx.states() == {"api-1": "down"}
    assert nginx.connections == 3
    assert told.complaints == []


def test_a_silent_worker_is_given_up(told: Told, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "internal.sock"))
        silent.listen()
        silent.setblocking(False)
        connections: list[socket.socket] = []

        def three() -> bool:
            with suppress(BlockingIOError):
                connections.append(silent.accept()[0])
            return len(connections) == 3

        told.tell(TABLE, set(), three)
        assert [one.recv(100)[:10] for one in connections] == [b"PUT /peers"] * 3
        for one in connections:
            one.close()


def test_a_refusal_is_said(told: Told, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as nginx:
        nginx.bind(str(tmp_path / "internal.sock"))
        nginx.listen()
        told.publisher.publish(TABLE, set())
        connection, _ = nginx.accept()
        connection.sendall(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 8\r\n\r\nline 1\r\n",
        )
        told.tell(TABLE, set(), lambda: told.complaints)
        connection.close()
    assert told.complaints == ["nginx refuses the table: HTTP/1.1 400 Bad Request: line 1"]


def test_no_nginx_is_no_news(told: Told) -> None:
    began = now()
    told.tell(TABLE, set(), lambda: now() - began > 0.1)
    assert told.complaints == []


def silent_s(probe: Probe, address: str) -> float:
    """What the probe says after it has asked twice."""
    deadline = now() + 1.5 * PROBE_EVERY_S
    while now() < deadline:
        probe.look(address)
        pause(0.02)
    return probe.look(address)


def test_a_refused_probe_is_silence() -> None:
    with free_ports() as ports:
        address = f"127.0.0.1:{ports[0]}"
        assert silent_s(Probe(), address) > PROBE_EVERY_S


@pytest.mark.parametrize("lack", OWN_LACK, ids=errno.errorcode.get)
def test_what_the_watchdog_has_run_out_of_is_no_silence(
    lack: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nginx would get SIGHUP every eight seconds for it."""

    def lacking(*_: object) -> socket.socket:
        raise OSError(lack, os.strerror(lack))

    monkeypatch.setattr(socket, "create_connection", lacking)
    assert silent_s(Probe(), "127.0.0.1:1") < PROBE_EVERY_S


def test_a_probe_goes_on_after_there_was_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    probe, real = Probe(), threading.Thread.start

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setattr(threading.Thread, "start", refused)
        with pytest.raises(RuntimeError):
            probe.look(address)
        monkeypatch.setattr(threading.Thread, "start", real)
        wait_until("it asks again", lambda: _asked(probe, address, listening), 5)


def _asked(probe: Probe, address: str, listening: socket.socket) -> bool:
    probe.look(address)
    listening.settimeout(0.05)
    try:
        listening.accept()[0].close()
    except TimeoutError:
        return False
    return True
