"""The table of instances: what nginx is told of them, what it refuses, and what it does untold."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead import clock, peer_table
from bulkhead.http_probe import UnixConnection, generation
from bulkhead.testing import wait_until
from tests.support.watched import Watched, watched

pytestmark = pytest.mark.live

ONE_WORKER = "proxy.workers=1"
ROUND_ROBIN = "services.api.policy=round_robin"


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


def test_told_nothing_for_a_second_nginx_is_blind(tmp_path: Path) -> None:
    """Then it believes no `down`: who refuses moves the request on. Who is `out` stays out."""
    with watched(tmp_path / "home", ONE_WORKER, ROUND_ROBIN) as proxy:
        socket_path = proxy.home.internal_socket
        told = peer_table.look(socket_path)
        assert told
        assert not told.fresh
        assert {one.state for one in told.peers if one.service == "api"} == {"up"}
        proxy.serve("api-1", "api-3")
        proxy.tell(api_1="down", api_2="down", api_3="drained")
        told = peer_table.look(socket_path)
        assert told
        assert told.fresh
        proxy.telling.clear()
        begun = clock.now()
        assert proxy.ask().instance == "api-1"
        assert 0.6 < clock.now() - begun < 1.5, "held until nginx is blind"
        told = peer_table.look(socket_path)
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
    before = peer_table.read(proxy.home.internal_socket)
    status, said = ask_peers(proxy, "PUT", body)
    assert status == 400
    assert said.startswith(complaint)
    assert said.count("\n") == 1
    assert peer_table.read(proxy.home.internal_socket) == before


def test_nobody_is_a_word(proxy: Watched) -> None:
    assert ask_peers(proxy, "PUT", "")[0] == 400  # an empty table is a mistake
    assert ask_peers(proxy, "PUT", peer_table.table([]))[0] == 204
    assert peer_table.read(proxy.home.internal_socket) == []
    assert peer_table.read(proxy.home.path / "no.sock") == []
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
        proxy.tell(api_2="drained")
        before = peer_table.read(proxy.home.internal_socket)
        old = set(proxy.workers())
        proxy.telling.clear()
        proxy.signal_nginx(signal.SIGHUP)
        wait_until("new workers alone", lambda: not set(proxy.workers()) & old)
        assert peer_table.read(proxy.home.internal_socket) == before
