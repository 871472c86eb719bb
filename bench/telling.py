"""What so many peers cost nginx: to be told of them, to make its lists of them, to choose one.

nginx runs alone with the rendered configuration and one worker; the measurement is its watchdog.
All peers are `up`, and stand at the addresses of four instances that cost next to nothing, so real
requests are chosen for among so many.
"""

import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from bench import proxies
from bench.ports import free_block
from bench.processes import cpu_s, tree
from bench.wrk import wrk
from bulkhead.control import process
from bulkhead.control.unix import UnixConnection
from bulkhead.render.peers import Peer, table
from tests.support.watched import Watched, watched

SIZES = (6, 60, 600, 6000)
INSTANCES = 4
SAMPLES = 15
TARGET, CONNECTIONS, SECONDS = "/api/v1/whoami", 32, 2
ASK_S = 10.0
LARGEST = 40_000


@dataclass(frozen=True)
class Told:
    """With so many peers: milliseconds, and microseconds of nginx's processor time a request.

    `put_ms`: PUT of a table that nginx has not seen. `again_ms`: PUT of the one that it has.
    `take_ms`: what the first request after another table takes longer than the next one, for then
    a worker makes its lists; each worker does so once.
    """

    peers: int
    octets: int
    put_ms: float
    again_ms: float
    take_ms: float
    request_us: float
    per_s: float


def measure(rounds: int, settings: Sequence[str]) -> tuple[list[Told], int]:
    """A row for each size, and the most peers that nginx takes (LARGEST: no limit was found)."""
    with (
        tempfile.TemporaryDirectory() as name,
        free_block() as ports,
        proxies.supervised(_folder(name), ports[:INSTANCES], 1, "bench.fast"),
        # What is too much for it makes Lua fail, and that is looked for on purpose.
        watched(Path(name) / "home", "proxy.workers=1", *settings, alerts="lua") as proxy,
    ):
        found = [_told(proxy, size, ports[:INSTANCES], rounds) for size in SIZES]
        return found, _most(proxy, ports[:INSTANCES])


def _folder(name: str) -> Path:
    Path(name).chmod(0o711)  # nginx's workers are not root
    return Path(name) / "instances"


def crowd(size: int, ports: Sequence[int], boot: int) -> str:
    """The table of so many peers; another `boot` makes another table of it."""
    return table(
        Peer("api", f"api-{at % 6 + 1}.app-{at // 6:04}", f"127.0.0.1:{port}", 1, "up", boot)
        for at, port in zip(range(size), _around(ports), strict=False)
    )


def _around(ports: Sequence[int]) -> Iterator[int]:
    while True:
        yield from ports


def _told(proxy: Watched, size: int, ports: Sequence[int], rounds: int) -> Told:
    tables = [crowd(size, ports, 1_000_000 + at) for at in range(2)]
    connection = UnixConnection(proxy.home.internal_socket, ASK_S)
    try:
        found = [_times(connection, tables[at % 2]) for at in range(SAMPLES)]
    finally:
        connection.close()
    put, again, first, second = (median(one) for one in zip(*found, strict=True))
    assert proxy.nginx
    root = process.find(proxy.nginx.pid)
    assert root
    used, rates = [], []
    for _ in range(rounds):
        before = cpu_s(tree(root))
        rate = wrk([proxy.url + TARGET], CONNECTIONS, SECONDS)
        used.append(1e6 * (cpu_s(tree(root)) - before) / rate.requests)
        rates.append(rate.per_s)
    times = (put, again, first - second, median(used), median(rates))
    return Told(size, len(tables[0]), *times)


def _times(connection: HTTPConnection, text: str) -> tuple[float, float, float, float]:
    """Milliseconds of a PUT of another table, of the same again, and of two looks at it."""
    looks = ("GET", "/nobody-1/", None)  # an instance by name: it is looked for among all
    before = _ask(connection, "PUT", "/peers", text)
    first, second = _ask(connection, *looks), _ask(connection, *looks)
    return before, _ask(connection, "PUT", "/peers", text), first, second


def _ask(connection: HTTPConnection, method: str, target: str, body: str | None) -> float:
    began = time.perf_counter()
    connection.request(method, target, body)
    answer = connection.getresponse()
    answer.read()
    took = 1e3 * (time.perf_counter() - began)
    assert answer.status in (204, 404), f"{method} {target}: {answer.status}"
    return took


def _most(proxy: Watched, ports: Sequence[int]) -> int:
    """The most peers that nginx still tells of when it has been told of them, to the hundred."""
    low, high = SIZES[-1] // 100, LARGEST // 100
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _taken(proxy, 100 * middle, ports) else (low, middle)
    return 100 * low


def _taken(proxy: Watched, size: int, ports: Sequence[int]) -> bool:
    connection = UnixConnection(proxy.home.internal_socket, ASK_S)
    try:
        connection.request("PUT", "/peers", crowd(size, ports, size))
        put = connection.getresponse()
        put.read()
        if put.status != 204:
            return False
        connection.request("GET", "/peers")
        got = connection.getresponse()
        return got.status == 200 and len(got.read().splitlines()) == size + 1
    except OSError:
        return False
    finally:
        connection.close()


def one_send() -> int:
    """The longest request, in octets, that one send(2) puts into a unix socket: a table must fit
    into it, for the watchdog gives a connection up that has taken only a part (watch/tell.py).
    """
    low, high = 1, 1 << 24
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(middle) else (low, middle)
    return low


def _fits(octets: int) -> bool:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with here, there:
        here.setblocking(False)
        return here.send(bytes(octets)) == octets
