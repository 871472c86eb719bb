"""How much a stack carries, and what each part of it spends on a request.

One stack for each number of nginx's workers, scaled to each number of instances; then one with its
ledger on PostgreSQL. Every request is real: wrk, nginx, Tornado, the ledger, rows.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.processes import cpu_s, tree
from bench.wrk import wrk
from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.control.unix import UnixConnection
from tests.support import databases
from tests.support.stack import Stack, running_stack

WORKERS, INSTANCES = (1, 2), (1, 2, 4)
CROWD, SECONDS = 32, 2  # connections of wrk at once, and how long it sends
READ, WRITE = "/api/v1/whoami", "/api/v1/entries"
KEYED = Path(__file__).with_name("keyed.lua")
# The pages are not asked for: one small instance of them is all that the topology needs.
SMALL = ("services.web.instances=1", "services.web.workers=1")
COUNTERS = ("commits", "operations")


@dataclass(frozen=True)
class Carried:
    """Medians over the rounds: requests per second, microseconds of processor time a request.

    `commits` are those of the ledger for each write, 0 for reads. `proxy_row` and `service_rows`
    are the octets that nginx and the instances have written down about one request.
    """

    ledger: str
    workers: int
    instances: int
    writes: bool
    connections: int
    per_s: float
    nginx_us: float
    instance_us: float
    database_us: float
    commits: float
    proxy_row: float
    service_rows: float


@dataclass
class Setting:
    """A stack that is measured, and the server of its ledger if it has one."""

    stack: Stack
    ledger: str
    workers: int
    instances: int
    server: Process | None = None

    def measure(self, writes: bool, connections: int, rounds: int) -> Carried:
        """Load it for some rounds of SECONDS each."""
        found = [self._round(writes, connections) for _ in range(rounds)]
        middle = [median(one) for one in zip(*found, strict=True)]
        return Carried(self.ledger, self.workers, self.instances, writes, connections, *middle)

    def _round(self, writes: bool, connections: int) -> tuple[float, ...]:
        before = self._counted()
        if writes:
            rate = wrk([self.stack.url + WRITE], connections, SECONDS, KEYED)
        else:
            rate = wrk([self.stack.url + READ], connections, SECONDS)
        used = [now - then for now, then in zip(self._counted(), before, strict=True)]
        nginx, instances, database, commits, operations, proxy_row, service_rows = used
        each = [1e6 * one / rate.requests for one in (nginx, instances, database)]
        per_write = commits / operations if operations else 0.0
        rows = (proxy_row / rate.requests, service_rows / rate.requests)
        return rate.per_s, *each, per_write, *rows

    def _counted(self) -> list[float]:
        """What has been used so far; see _round for the order."""
        supervisord = int((self.stack.home.run / "supervisord.pid").read_text())
        programs = process.children(supervisord)
        nginx = [one for one in programs if "nginx: master" in process.title(one)]
        api = [one for one in programs if self._name(one).startswith("api-")]
        trees = [[below for one in group for below in tree(one)] for group in (nginx, api)]
        used = [*map(cpu_s, trees), cpu_s(tree(self.server)) if self.server else 0.0]
        counters = [self._metrics(self._name(one)) for one in api]
        home = self.stack.home
        rows = [float(path.stat().st_size) for path in (home.proxy_rows, home.service_rows)]
        return [*used, *(sum(one[name] for one in counters) for name in COUNTERS), *rows]

    @staticmethod
    def _name(one: Process) -> str:
        return process.variable(one, "BULKHEAD_INSTANCE") or ""

    def _metrics(self, instance: str) -> dict[str, float]:
        """The ledger's counters of one instance."""
        connection = UnixConnection(self.stack.home.internal_socket, 5)
        try:
            connection.request("GET", f"/{instance}/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        found = re.findall(r"^bulkhead_api_ledger_(\w+)_total (\d+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}


def measure(rounds: int, settings: Sequence[str]) -> Iterator[Carried]:
    """Every combination on SQLite, and the largest of them on PostgreSQL too."""
    for workers in WORKERS:
        with _stack(workers, INSTANCES[0], settings) as stack:
            for instances in INSTANCES:
                stack.bulkhead("scale", f"api={instances}")
                setting = Setting(stack, "SQLite", workers, instances)
                yield setting.measure(False, CROWD, rounds)
                yield setting.measure(True, CROWD, rounds)
            if workers == WORKERS[-1]:
                yield setting.measure(True, 1, rounds)
    yield from _on_a_server(rounds, settings)


def _on_a_server(rounds: int, settings: Sequence[str]) -> Iterator[Carried]:
    with databases.running("postgresql") as server:
        server.sql("CREATE DATABASE ledger")
        mine = [f"stack.{name}={value}" for name, value in server.settings("ledger").items()]
        postmaster = (server.folder / "data" / "postmaster.pid").read_text().split()[0]
        workers, instances = WORKERS[-1], INSTANCES[-1]
        with _stack(workers, instances, [*mine, *settings]) as stack:
            root = process.find(int(postmaster))
            setting = Setting(stack, "PostgreSQL", workers, instances, root)
            yield setting.measure(True, CROWD, rounds)
            yield setting.measure(True, 1, rounds)


@contextmanager
def _stack(workers: int, instances: int, settings: Sequence[str]) -> Iterator[Stack]:
    mine = [f"proxy.workers={workers}", f"services.api.instances={instances}", *SMALL, *settings]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder) / "home", mine) as stack,
    ):
        yield stack
