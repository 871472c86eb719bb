"""The cost of a proxy per request, against asking the instances directly (docs/bench.md)."""

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple
from uuid import uuid4

import psutil

from bench import proxies
from bench.figures import Table
from bench.proxies import WHOAMI
from bench.usage import cpu_s, programs, temporary_folder, tree
from bulkhead.render.supervisor import NGINX, WATCH
from bulkhead.testing import Stack, Value, free_ports

INSTANCES = 4
CONNECTIONS, SECONDS = 32, 2  # as many requests per second as it can
ALONE_SECONDS = 1  # one request after the other: what the way through the proxy takes
COLUMNS = (
    *("way", "per s", "of direct", "us a request, alone", "added us"),
    "proxy CPU s per 1,000",
)
BACKENDS = {"four Tornado instances": "services.api", "four instances at no cost": "bench.fast"}


class Way(NamedTuple):
    """One way to the instances. `proxy` are the processes whose time counts as the proxy's."""

    name: str
    urls: Sequence[str]
    proxy: Sequence[psutil.Process]

    def measure(self) -> tuple[float, float, float]:
        """Requests per second, us of a request alone, ms of the proxy's processor time for one."""
        before = cpu_s(self.proxy)
        busy = wrk([url + WHOAMI for url in self.urls], CONNECTIONS, SECONDS)
        cpu_ms = 1000 * (cpu_s(self.proxy) - before) / busy.requests
        alone = wrk([self.urls[0] + WHOAMI], 1, ALONE_SECONDS)
        return busy.per_s, 1e6 / alone.per_s, cpu_ms


def measure(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """A table for each kind of instance: medians, and ratios to the direct way."""
    for backend, module in BACKENDS.items():
        with temporary_folder() as folder, ExitStack() as running:
            chosen = list(ways(running, folder, module, settings))
            samples = in_turn(rounds, {way.name: way.measure for way in chosen})
        load = f"median of {rounds} x {SECONDS} s, {CONNECTIONS} connections"
        table = Table(f"cost of a proxy, {backend}: {load}", COLUMNS)
        columns = {name: list(zip(*rows, strict=True)) for name, rows in samples.items()}
        direct_s, direct_us, _ = map(median, columns["direct"])
        for name, values in columns.items():
            per_s, alone_us, cpu_ms = map(median, values)
            cells = (per_s, per_s / direct_s, alone_us, alone_us - direct_us, cpu_ms)
            table.rows.append([name, *cells])
            table.details.append({"way": name, "per_s": values[0], "alone_us": values[1]})
        yield table


def in_turn(rounds: int, measures: Mapping[str, Callable[[], Value]]) -> dict[str, list[Value]]:
    """Each one's measurement of every round: drift of the machine meets all of them alike."""
    samples: dict[str, list[Value]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            samples[name].append(measure())
    return samples


def ways(running: ExitStack, folder: Path, module: str, settings: Sequence[str]) -> Iterator[Way]:
    """Every way, set up for as long as `running` is open."""
    ports = running.enter_context(free_ports())
    instances = ports[10 : 10 + INSTANCES]
    running.enter_context(proxies.supervised(folder / "instances", instances, 1, module))
    yield Way("direct", [f"http://127.0.0.1:{port}" for port in instances], [])
    for name, balancer in (("bulkhead", "watched"), ("bulkhead, nginx's balancer", "nginx")):
        mine = [f"services.api.app={module}", f"proxy.balancer={balancer}", *settings]
        stack = running.enter_context(Stack.running(folder / balancer, mine))
        found = programs(stack)  # the watchdog works for the proxy, too
        yield Way(name, [stack.url], found[NGINX] + found.get(WATCH, []))
    for peer, port in zip(proxies.PEERS, ports, strict=False):
        proxy = proxies.proxy(peer, folder / f"proxy-{port}", port, instances)
        served = running.enter_context(proxy)
        yield Way(peer.name, [f"http://127.0.0.1:{port}"], tree(served.pid))


class Rate(NamedTuple):
    """wrk's count: answers, and how many of them per second."""

    requests: int
    per_s: float


def wrk(urls: Sequence[str], connections: int, seconds: int, script: Path | None = None) -> Rate:
    """Load all `urls` as fast as `connections` can carry it, by one wrk each.

    `script` says what is sent (a GET, without one); it is given a word that no other run has.
    RuntimeError if an answer was not 2xx or 3xx, or a connection failed; with what wrk said.
    """
    each = max(1, connections // len(urls))
    scripted = ["-s", str(script)] if script else []
    word = ["--", uuid4().hex] if script else []
    running = [
        subprocess.Popen(
            ["wrk", "-t1", f"-c{each}", f"-d{seconds}s", *scripted, url, *word],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for url in urls
    ]
    try:
        said = [child.communicate(timeout=seconds + 30)[0] for child in running]
    finally:
        for child in running:
            child.kill()
            child.wait()
    rates = [read_wrk(text) for text in said]
    return Rate(sum(each.requests for each in rates), sum(each.per_s for each in rates))


def read_wrk(said: str) -> Rate:
    """The figures that wrk printed; RuntimeError if it failed, or something that it counted did."""
    requests = re.search(r"(\d+) requests in", said)
    per_s = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if "Non-2xx" in said or "Socket errors" in said or not requests or not per_s:
        raise RuntimeError(f"wrk: not all was well:\n{said}")
    return Rate(int(requests[1]), float(per_s[1]))
