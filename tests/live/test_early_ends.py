"""Requests that end early leave nothing: no connection, no file, no place, and exactly one row.

Each case is a request that nginx, the balancer or the client ends before its usual end. It is sent
whole, in two packets at every byte boundary, and one byte a packet; and the client leaves at every
boundary, by FIN and by RST. nginx takes a different path through its code for each.
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import IncompleteRead
from pathlib import Path

import pytest

from bulkhead.testing import wait_until
from tests.support.crowd import wait_for_in_flight
from tests.support.watched import Watched, watched

pytestmark = pytest.mark.live

# With one worker an answer to the test proves that all that was sent before it has been read.
SETTINGS = ("proxy.workers=1", "proxy.max_body_kb=32", "proxy.queue_timeout_s=0.1")
FIN, RST = None, struct.pack("ii", 1, 0)  # SO_LINGER without time: close(2) sends a reset
SIDE_BY_SIDE = 200  # clients at a time

HEAD = b"POST /api/x HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
IN_A_FILE = 20_000  # bytes: more than nginx keeps of a body in memory


@dataclass(frozen=True)
class Case:
    """A request, and the status that a client which sends all of it is given."""

    name: str
    sent: bytes
    status: int

    def boundaries(self) -> list[int]:
        """Where it is cut: everywhere but between two bytes of filling."""
        return [at for at in range(1, len(self.sent)) if self.sent[at - 1 : at + 1] != b"xx"]


def chunk(size: int) -> bytes:
    return b"%x\r\n" % size + b"x" * size + b"\r\n"


CASES = (
    Case("good", b"GET /api/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
    Case("good-body", HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\nbody", 200),
    Case(
        "good-chunks",
        HEAD
        + b"Connection: close\r\n"
        + CHUNKED[len(HEAD) :]
        + chunk(3)
        + chunk(IN_A_FILE)
        + b"0\r\n\r\n",
        200,
    ),
    Case("chunk-too-large", CHUNKED + b"f000\r\nx", 413),
    Case("chunks-too-large", CHUNKED + chunk(9) + b"f000\r\nx", 413),
    Case("chunks-too-large-in-a-file", CHUNKED + chunk(IN_A_FILE) + b"f000\r\nx", 413),
    Case("chunk-bad", CHUNKED + b"zz\r\n", 400),
    Case("chunk-bad-in-a-file", CHUNKED + chunk(IN_A_FILE) + b"zz\r\n", 400),
    Case("chunk-without-end", CHUNKED + b"1\r\nxyz", 400),
    Case("length-too-large", HEAD + b"Content-Length: 40000\r\n\r\n", 413),
    Case("length-no-number", HEAD + b"Content-Length: x\r\n\r\n", 400),
    Case("two-lengths", HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    Case("coding-unknown", HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    Case("expects-too-much", HEAD + b"Expect: 100-continue\r\nContent-Length: 40000\r\n\r\n", 413),
    Case("version", b"GET /api/ HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    Case("no-host", b"GET /api/ HTTP/1.1\r\n\r\n", 400),
    Case("two-hosts", b"GET /api/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    Case("no-http", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
    Case("header-too-long", b"GET /api/ HTTP/1.1\r\nA: " + b"x" * 9000 + b"\r\n\r\n", 400),
    Case("line-too-long", b"GET /api/" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    Case("no-route", b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
)


@pytest.fixture(scope="module", params=("watched", "nginx"))
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    """One proxy for all cases, with each balancer."""
    settings = (*SETTINGS, f"proxy.balancer={request.param}")
    with watched(tmp_path_factory.mktemp("e") / "home", *settings, count=1) as running:
        running.serve()
        if request.param == "watched":
            running.tell_all("up")
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_in_packets_leaves_nothing(proxy: Watched, case: Case) -> None:
    requests = [[case.sent], [case.sent[at : at + 1] for at in range(min(len(case.sent), 200))]]
    requests[1].append(case.sent[200:])
    requests += [[case.sent[:at], case.sent[at:]] for at in case.boundaries()]
    before = len(lines(proxy))
    for group in groups(requests):
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(proxy)) for _ in group]
            send(proxy, clients, group)
            assert [status(client) for client in clients] == [case.status] * len(group)
    assert_nothing_is_left(proxy, before + len(requests))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("linger", [FIN, RST], ids=["fin", "rst"])
def test_a_client_that_leaves_anywhere_leaves_nothing(
    proxy: Watched, case: Case, linger: bytes | None
) -> None:
    before = len(lines(proxy))
    for group in groups([[case.sent[:at]] for at in case.boundaries()]):
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(proxy)) for _ in group]
            send(proxy, clients, group)
            for client in clients:
                if linger:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert_nothing_is_left(proxy, before + len(case.boundaries()))


def groups(requests: list[list[bytes]]) -> Iterator[list[list[bytes]]]:
    for at in range(0, len(requests), SIDE_BY_SIDE):
        yield requests[at : at + SIDE_BY_SIDE]


def connect(proxy: Watched) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=10)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def send(proxy: Watched, clients: Sequence[socket.socket], group: list[list[bytes]]) -> None:
    """The first packet of all, then the second of all, ...: nginx has read each before the next."""
    for number in range(max(map(len, group))):
        for client, packets in zip(clients, group, strict=True):
            if number < len(packets):
                try:
                    client.sendall(packets[number])
                except (BrokenPipeError, ConnectionResetError):
                    continue  # it has its answer already
        proxy.busy()


def status(client: socket.socket) -> int:
    """Of the answer. nginx may keep the connection for a while, to read what it refused."""
    answer = client.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < length:
        body += client.recv(65536)
    assert len(body) == length, "one answer"
    return int(head.split()[1])


def lines(proxy: Watched) -> list[str]:
    path = proxy.home.proxy_rows
    return path.read_text().splitlines() if path.exists() else []


def assert_nothing_is_left(proxy: Watched, rows: int) -> None:
    wait_until("nginx has no connection but the asker's", lambda: proxy.connections() == 0)
    assert len(lines(proxy)) == rows, "each request has one row"
    assert [path for path in proxy.home.tmp.rglob("*") if not path.is_dir()] == []
    if proxy.telling.is_set():
        assert set(proxy.in_flight().values()) == {0}


# What ends a request after all of it has been read.


@dataclass(frozen=True)
class Later:
    """A request, and what its client does not wait for."""

    name: str
    target: str
    until: str  # when the client leaves: what the proxy is doing then
    row: int  # the status in its row


LATER = (
    Later("queued", "/api/x", "waits", 499),
    Later("executed", "/api/x?wait=0.5", "asks", 200),
    Later("answered", "/api/x?bytes=8000000", "answers", 200),
)


@pytest.mark.parametrize("linger", [FIN, RST], ids=["fin", "rst"])
@pytest.mark.parametrize("case", LATER, ids=lambda case: case.name)
def test_a_client_that_leaves_later_leaves_nothing(
    tmp_path: Path, case: Later, linger: bytes | None
) -> None:
    with watched(tmp_path / "home", "proxy.workers=1", count=1) as proxy:
        proxy.serve()
        proxy.tell_all("down" if case.until == "waits" else "up")
        client = connect(proxy)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with client:
            client.sendall(f"GET {case.target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            if case.until == "waits":
                wait_until("it waits", lambda: proxy.busy() == 1)
            elif case.until == "asks":
                wait_for_in_flight(proxy, 1)
            else:
                assert client.recv(12) == b"HTTP/1.1 200"
            if linger:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert_nothing_is_left(proxy, 1)
        assert proxy.rows(1)[0].status == case.row
        assert proxy.stored() == 0


ENDS = {
    "dies": ("/api/x?poison=1", 502),
    "is cut off in its answer": ("/api/x?bytes=8000000&cut=1", 200),
    "answers 503": ("/api/x?status=503", 503),
    "answers too late": ("/api/x?wait=60", 503),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_instance_that_fails_leaves_nothing(tmp_path: Path, end: str) -> None:
    target, status = ENDS[end]
    settings = ("proxy.workers=1", "services.api.timeout_s=0.3", "proxy.retry_burst=0")
    with watched(tmp_path / "home", *settings, count=3) as proxy:
        proxy.serve()
        proxy.tell_all("up")
        with suppress(IncompleteRead, OSError):
            assert proxy.ask(target).status == status
        assert_nothing_is_left(proxy, 1)
        assert proxy.rows(1)[0].status == status
