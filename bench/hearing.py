"""What it costs a proxy's watchdog to hear of the instances of other hosts.

Twice: its own code, called by itself and timed, and a real watchdog with nginx beside it that hears
of hosts that exist on paper only: one sender speaks for all of them, as often as each of them
would, and every instance is said to be at an address of loopback.
"""

import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.ports import free_block
from bench.processes import cpu_s, tree
from bulkhead import clock
from bulkhead.control import peers, process
from bulkhead.control.process import Process
from bulkhead.watch.announcement import Announcement, pack
from bulkhead.watch.announcer import EVERY_S
from bulkhead.watch.hosts import Hosts
from tests.support.stack import Stack, running_stack

KEY = secrets.token_hex(32).encode()
SAMPLES = 40
BATCH, WAITING = 50, 80_000  # datagrams at once, but no more octets than a usual socket keeps
SETTLE_S, SECONDS, LOOKS = 2.0, 4.0, 8


def lines(host: int, instances: int) -> tuple[str, ...]:
    """What a host on paper says of its instances; all lines are about as long as real ones."""
    address = f"127.1.{host // 250}.{host % 250 + 1}"
    return tuple(
        f"api api-{number}.app-{host:04} {address}:{8100 + number} 1 up {1_000_000 + host}"
        for number in range(1, instances + 1)
    )


# What a datagram has besides its lines: the signature and the head.
HEAD_OCTETS = len(pack(KEY, Announcement("app-0000", 1, 1, ())))


def announcement(host: int, instances: int, number: int) -> bytes:
    """One datagram of a host on paper."""
    return pack(KEY, Announcement(f"app-{host:04}", 1, number, lines(host, instances)))


@dataclass(frozen=True)
class Heard:
    """Microseconds of the watchdog's own code, with so many instances known.

    `alone_us`: it takes one announcement. `each_us`: one more that has waited beside it.
    `table_us`: the text for nginx, made anew in each tick.
    """

    hosts: int
    instances: int
    octets: int
    alone_us: float
    each_us: float
    table_us: float


def heard(hosts: int, instances: int) -> Heard:
    """The watchdog's receiving end, when it knows `hosts` of so many instances each."""
    ear = Hosts("127.0.0.1:0", KEY, lambda _name, _what: None)
    mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        mouth.connect(ear.socket.getsockname())
        for host in range(hosts):
            mouth.send(announcement(host, instances, 0))
            ear.hear()
        size = len(announcement(0, instances, 1))
        batch = max(2, min(BATCH, WAITING // size))
        alone = median(_time(ear, mouth, instances, 1 + at, 1) for at in range(SAMPLES))
        many = median(_time(ear, mouth, instances, 1000 + 100 * at, batch) for at in range(SAMPLES))
        table = median(_table(ear) for _ in range(SAMPLES))
    finally:
        mouth.close()
        ear.close()
    return Heard(hosts, instances, size, alone, (many - alone) / (batch - 1), table)


def _time(ear: Hosts, mouth: socket.socket, instances: int, number: int, count: int) -> float:
    """Microseconds of hearing `count` announcements of the first host that wait together."""
    for datagram in [announcement(0, instances, number + at) for at in range(count)]:
        mouth.send(datagram)
    began = time.perf_counter()
    ear.hear()
    return 1e6 * (time.perf_counter() - began)


def _table(ear: Hosts) -> float:
    began = time.perf_counter()
    "".join(f"{one}\n" for one in ear.lines()).encode()
    return 1e6 * (time.perf_counter() - began)


@dataclass(frozen=True)
class Lived:
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
    with tempfile.TemporaryDirectory() as name, free_block() as ports:
        folder = Path(name)
        (folder / "key").write_bytes(KEY)
        place = f"127.0.0.1:{ports[0]}"
        mine = ["hosts.role=proxy", f"hosts.hear={place}", f"hosts.key_file={folder / 'key'}"]
        for hosts in sizes:
            with (
                speaking(ports[0], hosts, instances) as said,
                running_stack(folder / f"proxy-{hosts}", [*mine, *settings]) as stack,
            ):
                yield _watched(stack, hosts, said)


def _watched(stack: Stack, hosts: int, said: list[int]) -> Lived:
    members = tree(watchdog(stack))
    clock.pause(SETTLE_S)
    before, spoken, began = cpu_s(members), said[0], clock.now()
    looks = []
    for _ in range(LOOKS):
        clock.pause(SECONDS / LOOKS)
        looks.append(peers.look(stack.home.internal_socket))
    took = clock.now() - began
    used = (cpu_s(members) - before) / took
    known = len(looks[-1].peers) if looks[-1] else 0
    fresh = sum(look.fresh for look in looks if look) / LOOKS
    return Lived(hosts, (said[0] - spoken) / took, used, known, fresh)


def watchdog(stack: Stack) -> Process:
    """The watchdog of a stack that is up."""
    supervisord = int((stack.home.run / "supervisord.pid").read_text())
    found = [one for one in process.children(supervisord) if "bulkhead.watch" in process.title(one)]
    assert len(found) == 1, f"{len(found)} watchdogs"
    return found[0]


@contextmanager
def speaking(port: int, hosts: int, instances: int) -> Iterator[list[int]]:
    """Speak for that many hosts, each every EVERY_S; the list holds how often it was spoken."""
    said, ended = [0], threading.Event()

    def speak() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            while not ended.is_set():
                began = clock.now()
                for host in range(hosts):
                    said[0] += 1
                    mouth.sendto(announcement(host, instances, said[0]), ("127.0.0.1", port))
                    ended.wait(max(0.0, began + EVERY_S * (host + 1) / hosts - clock.now()))

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield said
    finally:
        ended.set()
        thread.join()
