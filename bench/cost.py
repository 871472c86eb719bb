"""What a proxy costs per request, against asking the instances directly.

Twice: in front of four Tornado instances, and in front of four that cost next to nothing (fast.py),
so that the proxy is what is measured. All set-ups are up at once and are measured in turn, round
after round, so that drift of the machine meets all of them alike.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import proxies
from bench.ports import free_block
from bench.processes import cpu_s, tree
from bench.tables import Cell, Table
from bench.wrk import wrk
from bulkhead.control import process
from bulkhead.control.process import Process
from tests.support.stack import Stack, running_stack

TARGET = "/api/v1/whoami"
INSTANCES = 4
CONNECTIONS, SECONDS = 32, 2  # as many requests per second as it can
ALONE_SECONDS = 1  # one request after the other: what the way through the proxy takes
COLUMNS = (
    *("way", "per s", "of direct", "us a request, alone", "added us"),
    "proxy CPU s per 1,000",
)
BACKENDS = {"four Tornado instances": "services.api", "four instances at no cost": "bench.fast"}


@dataclass
class Way:
    """One way to the instances, and what was measured of it, a value a round.

    `proxy` are the processes whose time counts as the proxy's.
    """

    name: str
    urls: Sequence[str]
    proxy: Callable[[], list[Process]]
    per_s: list[float] = field(default_factory=list)
    alone_us: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """One round."""
        members = self.proxy()
        before = cpu_s(members)
        busy = wrk([url + TARGET for url in self.urls], CONNECTIONS, SECONDS)
        self.cpu_ms.append(1000 * (cpu_s(members) - before) / busy.requests)
        self.per_s.append(busy.per_s)
        self.alone_us.append(1e6 / wrk([self.urls[0] + TARGET], 1, ALONE_SECONDS).per_s)


def measure(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """A table for each kind of instance."""
    for backend, module in BACKENDS.items():
        with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
            folder = Path(name)
            folder.chmod(0o711)  # a stock nginx's workers are not root
            found = list(ways(stack, folder, module, settings))
            for _ in range(rounds):
                for way in found:
                    way.measure()
        yield table(backend, found, rounds)


def ways(running: ExitStack, folder: Path, module: str, settings: Sequence[str]) -> Iterator[Way]:
    """Every way, set up for as long as `running` is open."""
    ports = running.enter_context(free_block())
    instances = ports[10 : 10 + INSTANCES]
    running.enter_context(proxies.supervised(folder / "instances", instances, 1, module))
    yield Way("direct", [f"http://127.0.0.1:{port}" for port in instances], list)
    for name, balancer in (("bulkhead", "watched"), ("bulkhead, nginx's balancer", "nginx")):
        mine = [f"services.api.app={module}", f"proxy.balancer={balancer}", *settings]
        stack = running.enter_context(running_stack(folder / balancer, mine))
        yield Way(name, [stack.url], lambda stack=stack: of_stack(stack))  # type: ignore[misc]
    for peer, port in zip(proxies.PEERS, ports, strict=False):
        proxy = proxies.proxy(peer, folder / f"proxy-{port}", port, instances)
        found = running.enter_context(proxy)
        yield Way(peer.name, [found.url], lambda found=found: tree(found.process))  # type: ignore[misc]


def of_stack(stack: Stack) -> list[Process]:
    """nginx of a stack, and its watchdog: it works for the proxy too."""
    supervisord = int((stack.home.run / "supervisord.pid").read_text())
    return [
        member
        for one in process.children(supervisord)
        if not process.variable(one, "BULKHEAD_INSTANCE")
        for member in tree(one)
    ]


def table(backend: str, found: Sequence[Way], rounds: int) -> Table:
    """Medians and ratios."""
    made = Table(
        f"cost of a proxy, {backend}: median of {rounds} x {SECONDS} s, {CONNECTIONS} connections",
        COLUMNS,
    )
    direct = found[0]
    for way in found:
        alone, base = median(way.alone_us), median(direct.alone_us)
        row: list[Cell] = [way.name, median(way.per_s), median(way.per_s) / median(direct.per_s)]
        made.rows.append([*row, alone, alone - base, median(way.cpu_ms)])
        made.details.append({"way": way.name, "per_s": way.per_s, "alone_us": way.alone_us})
    return made
