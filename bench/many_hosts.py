"""The cost of many other hosts' instances to a proxy's watchdog and its nginx (docs/scale.md).

The hosts exist on paper only: one sender speaks for all of them, and the peers that nginx is told
of stand at the addresses of four instances that cost next to nothing, so that it can choose them.
"""

import secrets
import socket
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import proxies
from bench.cost import wrk
from bench.usage import cpu_s, programs, started, temporary_folder, tree
from bulkhead import clock, peer_table
from bulkhead.http_probe import UnixConnection
from bulkhead.peer_table import Peer
from bulkhead.render.files import write_all
from bulkhead.render.nginx import render_nginx
from bulkhead.render.supervisor import WATCH
from bulkhead.supervise.home import make_folders, prepare_run
from bulkhead.supervise.nginx import find_nginx
from bulkhead.testing import ROOT, Stack, free_ports, wait_until
from bulkhead.topology import parse as topology
from bulkhead.watchdog.hosts import EVERY_S, Announcement, Hosts, pack

KEY = secrets.token_hex(32).encode()
HEARD_SAMPLES = 40
BATCH, WAITING = 50, 80_000  # datagrams at once, but no more bytes than a usual socket keeps
SETTLE_S, LIVED_S, LOOKS = 2.0, 4.0, 8

TOLD_SIZES = (6, 60, 600, 6000)
INSTANCES = 4
TOLD_SAMPLES = 15
CONNECTIONS, WRK_S = 32, 2
ASK_S = 10.0
LARGEST = 40_000


def announcement(host: int, instances: int, number: int) -> bytes:
    """One datagram of a host on paper; all lines are about as long as real ones."""
    address = f"127.1.{host // 250}.{host % 250 + 1}"
    lines = tuple(
        f"api api-{each}.app-{host:04} {address}:{8100 + each} 1 up {1_000_000 + host}"
        for each in range(1, instances + 1)
    )
    return pack(KEY, Announcement(f"app-{host:04}", 1, number, lines))


# The size of a datagram without its lines: the signature and the head.
HEAD_BYTES = len(announcement(0, 0, 1))


class Heard(NamedTuple):
    """Microseconds of the watchdog's own code, with so many instances known (docs/scale.md)."""

    hosts: int
    instances: int
    bytes: int
    alone_us: float
    each_us: float
    table_us: float


def heard(hosts: int, instances: int) -> Heard:
    """The watchdog's receiving end, when it knows `hosts` of so many instances each."""
    with (
        closing(Hosts("127.0.0.1:0", KEY, lambda _name, _what: None)) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        sender.connect(receiver.socket.getsockname())
        for host in range(hosts):
            sender.send(announcement(host, instances, 0))
            receiver.hear()
        size = len(announcement(0, instances, 1))
        batch = max(2, min(BATCH, WAITING // size))

        def hear_us(first: int, count: int) -> float:
            """Hearing `count` announcements of one host that wait together."""
            for number in range(first, first + count):
                sender.send(announcement(0, instances, number))
            return _us(receiver.hear)

        def text() -> bytes:
            return "".join(f"{line}\n" for line in receiver.lines()).encode()

        alone = median(hear_us(1 + at, 1) for at in range(HEARD_SAMPLES))
        many = median(hear_us(1000 + 100 * at, batch) for at in range(HEARD_SAMPLES))
        table = median(_us(text) for _ in range(HEARD_SAMPLES))
    return Heard(hosts, instances, size, alone, (many - alone) / (batch - 1), table)


def _us(call: Callable[[], object]) -> float:
    """Microseconds that a call takes."""
    began = time.perf_counter()
    call()
    return 1e6 * (time.perf_counter() - began)


class Lived(NamedTuple):
    """A real watchdog: the cores that it used, how many instances nginx knew in the end, and the
    share of all looks at nginx at which it had been told within the last second.
    """

    hosts: int
    announcements_per_s: float
    cores: float
    known: int
    fresh: float


def lived(sizes: Sequence[int], instances: int, settings: Sequence[str]) -> Iterator[Lived]:
    """A proxy's own watchdog and nginx, with so many hosts on paper."""
    with temporary_folder() as folder, free_ports() as (port, *_):
        (folder / "key").write_bytes(KEY)
        mine = ["hosts.role=proxy", f"hosts.hear=127.0.0.1:{port}"]
        mine += [f"hosts.key_file={folder / 'key'}", *settings]
        for hosts in sizes:
            with (
                speaking(port, hosts, instances) as said,
                Stack.running(folder / f"proxy-{hosts}", mine) as stack,
            ):
                members = programs(stack)[WATCH]
                clock.pause(SETTLE_S)
                before, spoken, began = cpu_s(members), said[0], clock.now()
                looks = []
                for _ in range(LOOKS):
                    clock.pause(LIVED_S / LOOKS)
                    looks.append(peer_table.look(stack.home.internal_socket))
                took = clock.now() - began
                used = (cpu_s(members) - before) / took
                known = len(looks[-1].peers) if looks[-1] else 0
                fresh = sum(look.fresh for look in looks if look) / LOOKS
                yield Lived(hosts, (said[0] - spoken) / took, used, known, fresh)


@contextmanager
def speaking(port: int, hosts: int, instances: int) -> Iterator[list[int]]:
    """Speak for that many hosts, each every EVERY_S; the list holds how often it was spoken."""
    said, ended = [0], threading.Event()

    def speak() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not ended.is_set():
                began = clock.now()
                for host in range(hosts):
                    said[0] += 1
                    sender.sendto(announcement(host, instances, said[0]), ("127.0.0.1", port))
                    ended.wait(max(0.0, began + EVERY_S * (host + 1) / hosts - clock.now()))

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield said
    finally:
        ended.set()
        thread.join()


class Told(NamedTuple):
    """With so many peers: milliseconds, and microseconds of nginx's processor time a request.

    `take_ms` is what the first request after another table takes longer than the next one.
    """

    peers: int
    bytes: int
    put_ms: float
    again_ms: float
    take_ms: float
    request_us: float
    per_s: float


def told(rounds: int, settings: Sequence[str]) -> tuple[list[Told], int]:
    """A row for each size, and the most peers that nginx takes (LARGEST: no limit was found).

    nginx runs with one worker and without its watchdog. It may complain of Lua, which fails with a
    table that is too large.
    """
    with (
        temporary_folder() as folder,
        free_ports() as ports,
        proxies.supervised(folder / "instances", ports[:INSTANCES], 1, "bench.fast"),
        free_ports() as own,
    ):
        stack = Stack(folder / "home", own, ["proxy.workers=1", *settings])
        stack.expected_alerts = "lua"
        home = stack.home
        make_folders(home)
        write_all(render_nginx(topology.load(ROOT / "stack.toml", stack.settings), user="root"))
        prepare_run(home)
        command = (find_nginx("nginx", ""), "-p", home.path, "-c", home.nginx_conf)
        addresses = [f"127.0.0.1:{port}" for port in ports[:INSTANCES]]
        with started(command, home.path / "output.log") as nginx:
            wait_until("nginx answers", lambda: peer_table.look(home.internal_socket))
            rows = [_told(stack, nginx.pid, size, addresses, rounds) for size in TOLD_SIZES]
            sizes = range(TOLD_SIZES[-1], LARGEST, 100)

            def refused(size: int) -> bool:
                return not _taken(home.internal_socket, crowd(size, addresses, size))

            first = bisect_left(sizes, True, key=refused)
        stack.assert_nothing_left([])
        return rows, sizes[max(0, first - 1)]


def crowd(size: int, addresses: Sequence[str], boot: int) -> list[Peer]:
    """So many peers; another `boot` makes another table of them."""
    return [
        Peer("api", f"api-{at % 6 + 1}.app-{at // 6:04}", address, 1, "up", boot)
        for at, address in zip(range(size), cycle(addresses), strict=False)
    ]


def _told(stack: Stack, nginx: int, size: int, addresses: Sequence[str], rounds: int) -> Told:
    tables = [peer_table.table(crowd(size, addresses, 1_000_000 + at)) for at in range(2)]
    look = ("GET", "/nobody-1/")  # an instance by name: it is looked for among all
    samples = []
    with closing(UnixConnection(stack.home.internal_socket, ASK_S)) as connection:
        for at in range(TOLD_SAMPLES):
            put = ("PUT", "/peers", tables[at % 2])
            asked = [partial(_ask, connection, *words) for words in (put, look, look, put)]
            samples.append([_us(call) / 1000 for call in asked])
    put_ms, first_ms, second_ms, again_ms = map(median, zip(*samples, strict=True))
    used, rates = [], []
    for _ in range(rounds):
        before = cpu_s(tree(nginx))
        rate = wrk([stack.url + proxies.WHOAMI], CONNECTIONS, WRK_S)
        used.append(1e6 * (cpu_s(tree(nginx)) - before) / rate.requests)
        rates.append(rate.per_s)
    times_ms = (put_ms, again_ms, first_ms - second_ms)
    return Told(size, len(tables[0]), *times_ms, median(used), median(rates))


def _ask(connection: HTTPConnection, method: str, target: str, body: str | None = None) -> None:
    connection.request(method, target, body)
    answer = connection.getresponse()
    answer.read()
    if answer.status not in (204, 404):
        raise HTTPException(f"{method} {target}: {answer.status}")


def _taken(internal: Path, peers: Sequence[Peer]) -> bool:
    """Whether nginx tells of so many peers when it has been told of them."""
    with closing(UnixConnection(internal, ASK_S)) as connection:
        try:
            _ask(connection, "PUT", "/peers", peer_table.table(peers))
        except (OSError, HTTPException):
            return False
    told = peer_table.look(internal)
    return told is not None and len(told.peers) == len(peers)


def one_send() -> int:
    """The longest request, in bytes, that one send(2) puts into a unix socket.

    A table must fit into it: watchdog/upstream.py gives a connection up that takes only a part.
    """
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        return here.send(bytes(1 << 24))
