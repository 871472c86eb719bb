"""The watchdog's connection to nginx: kept, given up, and never waited for."""

import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bulkhead.clock import now
from bulkhead.watch.tell import ANSWER_S, Teller
from tests.watch.harness import FakeNginx

TABLE = "api api-1 127.0.0.1:1 1 up 7\n"
OTHER = "api api-1 127.0.0.1:1 1 down 0\n"


class Told:
    """A teller in a loop of its own."""

    def __init__(self, path: Path) -> None:
        self.complaints: list[str] = []
        self.selector = selectors.DefaultSelector()
        self.teller = Teller(path, self.selector, self.complaints.append)

    def tell(self, table: str, workers: set[int], until: Callable[[], object]) -> None:
        """Tell this table, as the watchdog does, until something is so."""
        deadline = now() + 5
        while not until():
            assert now() < deadline
            self.teller.tell(table, workers)
            for key, _ in self.selector.select(0.01):
                key.data()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    one = Told(tmp_path / "internal.sock")
    yield one
    one.teller.again()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., FakeNginx]]:
    """Start an nginx that says it is these workers."""
    with ExitStack() as cleanup:

        def start(*pids: int) -> FakeNginx:
            nginx = FakeNginx(tmp_path / "internal.sock", *pids)
            cleanup.callback(nginx.close)
            return nginx

        yield start


def test_the_same_table_goes_out_at_its_pace_and_another_at_once(
    told: Told, start: Callable[..., FakeNginx]
) -> None:
    nginx = start()
    told.tell(TABLE, set(), lambda: len(nginx.tables) == 3)
    told.tell(OTHER, set(), lambda: nginx.states() == {"api-1": "down"})
    times = [t for t, _ in nginx.tables]
    assert times[1] - times[0] >= 0.25
    assert times[2] - times[1] >= 0.25
    assert times[3] - times[2] < 0.1
    assert nginx.connections == 1


def test_workers_of_a_dead_nginx_are_passed_over(
    told: Told, start: Callable[..., FakeNginx]
) -> None:
    nginx = start(101, 102, 201)
    told.tell(TABLE, {201, 202}, lambda: nginx.connections == 3)
    told.tell(OTHER, {201, 202}, lambda: nginx.states() == {"api-1": "down"})
    assert nginx.connections == 3
    assert told.complaints == []


def test_a_silent_worker_is_given_up(told: Told, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "internal.sock"))
        silent.listen()
        began = now()
        told.tell(TABLE, set(), lambda: now() - began > 2.5 * ANSWER_S)
        silent.setblocking(False)
        connections = [silent.accept()[0] for _ in range(3)]
        assert [one.recv(100)[:10] for one in connections] == [b"PUT /peers"] * 3
        for one in connections:
            one.close()


def test_a_refusal_is_said(told: Told, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as nginx:
        nginx.bind(str(tmp_path / "internal.sock"))
        nginx.listen()
        told.teller.tell(TABLE, set())
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
