"""How much a stack carries and spends on a request as it grows, and the constants of model.py.

The other constants come from many_hosts.py and accounting.py. How to read it: docs/scale.md.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import accounting, many_hosts, model, usage
from bench.cost import wrk
from bench.figures import Table
from bench.many_hosts import Heard, Lived, Told
from bench.model import Constants
from bench.proxies import WHOAMI
from bench.usage import SMALL, cpu_s, temporary_folder, temporary_stack, tree
from bulkhead.hosts import postgresql
from bulkhead.hosts.postgresql import Postgresql
from bulkhead.http_probe import ask_nginx
from bulkhead.render.supervisor import NGINX
from bulkhead.testing import Stack, free_ports

WORKERS, INSTANCES = (1, 2), (1, 2, 4)
CROWD, SECONDS = 32, 2  # connections of wrk at once, and how long it sends
WRITE = "/api/v1/entries"
KEYED = Path(__file__).with_name("keyed.lua")
COUNTERS = ("commits", "operations")
# Hosts x instances that the watchdog's own code is timed with; the first and the last of a host of
# its usual size give the constants.
HEARD = ((1, 6), (1, 64), (1, 600), (10, 6), (100, 6), (1000, 6))
# The first has nearly nothing to hear, the second is still woken for each announcement; between 750
# and 800 hosts of six the table outgrows one send of a socket of the usual size.
LIVED, OF_A_HOST = (1, 100, 750, 800, 1000), 6
ACCOUNTED = 100_000
HEARD_COLUMNS = ("hosts", "instances each", "bytes", "alone us", "one more us", "table us")
LIVED_COLUMNS = ("hosts", "announcements/s", "cores", "nginx knows", "looks that were fresh")
ACCOUNT_COLUMNS = ("s", "MB", "client row", "proxy row", "service rows")
TOLD_COLUMNS = ("peers", "bytes", "PUT ms", "again ms", "take ms", "nginx us a request", "per s")


class Carried(NamedTuple):
    """Medians over the rounds: requests per second, microseconds of processor time a request.

    `commits` are those of the ledger for each write, 0 for reads. `proxy_row` and `service_rows`
    are the bytes that nginx and the instances have written down about one request.
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


class Setting(NamedTuple):
    """A stack that is measured, and the pid of its ledger's server if it has one."""

    stack: Stack
    ledger: str
    workers: int
    instances: int
    server: int | None = None

    def measure(self, writes: bool, connections: int, rounds: int) -> Carried:
        """Load it for some rounds of SECONDS each."""
        target, script = (WRITE, KEYED) if writes else (WHOAMI, None)
        samples = []
        for _ in range(rounds):
            before = self._counted()
            rate = wrk([self.stack.url + target], connections, SECONDS, script)
            used = [now - then for now, then in zip(self._counted(), before, strict=True)]
            *cores_s, commits, operations, proxy_bytes, service_bytes = used
            each_us = [1e6 * each / rate.requests for each in cores_s]
            per_write = commits / operations if operations else 0.0
            rows = (proxy_bytes / rate.requests, service_bytes / rate.requests)
            samples.append([rate.per_s, *each_us, per_write, *rows])
        middle = map(median, zip(*samples, strict=True))
        return Carried(self.ledger, self.workers, self.instances, writes, connections, *middle)

    def _counted(self) -> list[float]:
        """The use so far: seconds of nginx, of the instances and of the server, the
        ledger's counters, the bytes of both files of rows.
        """
        found, home = usage.programs(self.stack), self.stack.home
        api = {name: members for name, members in found.items() if name.startswith("api-")}
        server = tree(self.server) if self.server else []
        used = map(cpu_s, (found[NGINX], chain.from_iterable(api.values()), server))
        said = b"".join(ask_nginx(home.internal_socket, f"/{name}/metrics").body for name in api)
        lines = re.findall(r"(?m)^bulkhead_api_ledger_(\w+)_total (\d+)$", said.decode())
        counters = (sum(int(count) for name, count in lines if name == one) for one in COUNTERS)
        rows = (path.stat().st_size for path in (home.proxy_rows, home.service_rows))
        return [*used, *counters, *rows]


def measure(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """The measurements, and then the model's tables.

    MissingError if there is no PostgreSQL on this machine, and nothing to reckon with.
    """
    postgresql.programs()  # before minutes are spent
    carried = list(carry(rounds, settings))
    table = Table(
        f"carried: median of {rounds} x {SECONDS} s; us are processor time of a request",
        ("ledger", "workers", "instances", "request", "connections", "per s", "nginx us",
         "instance us", "database us", "commits a write", "proxy row", "service rows"),
    )  # fmt: skip
    for case in carried:
        details = case._asdict()
        cells = {"database_us": case.database_us or "-", "commits": case.commits or "-"}
        cells["writes"] = "write" if case.writes else "read"
        table.rows.append(list((details | cells).values()))
        table.details.append(details)
    reads_s = 1e6 / largest(carried)[0].nginx_us
    table.notes.append(f"one core of nginx carries {reads_s:,.0f} reads per second")
    yield table
    heard = [many_hosts.heard(*size) for size in HEARD]
    yield Table("the watchdog hears an announcement", HEARD_COLUMNS, [*heard])
    lived = list(many_hosts.lived(LIVED, OF_A_HOST, settings))
    title = f"a proxy's watchdog, over {many_hosts.LIVED_S:g} s"
    yield Table(title, LIVED_COLUMNS, [*lived])
    told, most = many_hosts.told(rounds, settings)
    send_bytes = many_hosts.one_send()
    note = f"one send takes {send_bytes:,} bytes; nginx takes {most:,} peers"
    title = "nginx with so many peers, one worker"
    yield Table(title, TOLD_COLUMNS, [*told], [note])
    with temporary_folder() as folder:
        run, _ = accounting.make(folder, ACCOUNTED)
        account_s = median(accounting.measured(run)[0] for _ in range(accounting.ROUNDS))
        files = (run.client_rows, run.proxy_rows, run.service_rows)
        rows = [path.stat().st_size / ACCOUNTED for path in files]
        size = run.account.stat().st_size / 1e6
    title = f"the account of {ACCOUNTED:,} requests; rows in bytes a request"
    yield Table(title, ACCOUNT_COLUMNS, [[account_s, size, *rows]])
    yield from model.tables(constants(carried, heard, lived, told, send_bytes, account_s))


def constants(
    carried: Sequence[Carried],
    heard: Sequence[Heard],
    lived: Sequence[Lived],
    told: Sequence[Told],
    send_bytes: float,
    account_s: float,
) -> Constants:
    """The model's constants: of the stack with most workers and instances, of hosts of six."""
    read, write, server = largest(carried)
    few, many = heard[0], heard[-1]
    little, much = told[0], told[-1]
    more = much.peers - little.peers
    wake_peer_us = (many.alone_us - few.alone_us) / ((many.hosts - few.hosts) * few.instances)
    # Code that is called in a loop is quicker than the same in a process that has just been woken,
    # so the part that does not grow with the peers is taken from the real watchdog.
    idle, busy = lived[:2]
    woken_s = busy.announcements_per_s - idle.announcements_per_s
    woken_us = 1e6 * (busy.cores - idle.cores) / woken_s
    return Constants(
        nginx_read_us=read.nginx_us,
        nginx_write_us=write.nginx_us,
        pick_us=max(0.0, much.request_us - little.request_us) / more,
        instance_read_us=read.instance_us,
        instance_write_us=server.instance_us,
        database_us=server.database_us,
        commits=server.commits,
        wake_us=max(few.alone_us, woken_us - wake_peer_us * busy.hosts * OF_A_HOST),
        wake_peer_us=wake_peer_us,
        each_us=many.each_us,
        tick_us=many.table_us / (many.hosts * many.instances),
        idle_cores=idle.cores,
        take_us=1000 * much.take_ms / much.peers,
        send_bytes=send_bytes,
        announcement_bytes=few.bytes,
        peer_bytes=(few.bytes - many_hosts.HEAD_BYTES) / few.instances,
        proxy_row=max(read.proxy_row, write.proxy_row),
        service_rows=max(read.service_rows, write.service_rows),
        account_us=1e6 * account_s / ACCOUNTED,
    )


def largest(carried: Sequence[Carried]) -> tuple[Carried, Carried, Carried]:
    """Reads, writes on SQLite and writes on PostgreSQL, by the most workers and instances."""
    last = {(row.ledger, row.writes): row for row in carried if row.connections == CROWD}
    return last["SQLite", False], last["SQLite", True], last["PostgreSQL", True]


def carry(rounds: int, settings: Sequence[str]) -> Iterator[Carried]:
    """Every combination on SQLite, and the largest of them on PostgreSQL too."""
    for workers in WORKERS:
        own = (f"proxy.workers={workers}", *SMALL)
        with temporary_stack(*own, "services.api.instances=1", *settings) as stack:
            for instances in INSTANCES:
                stack.bulkhead("scale", f"api={instances}")
                setting = Setting(stack, "SQLite", workers, instances)
                yield setting.measure(False, CROWD, rounds)
                yield setting.measure(True, CROWD, rounds)
            if workers == WORKERS[-1]:
                yield setting.measure(True, 1, rounds)
    with (
        _postgresql() as (server, ledger),
        temporary_stack(*own, *ledger, f"services.api.instances={instances}", *settings) as stack,
    ):
        setting = Setting(stack, "PostgreSQL", workers, instances, server)
        yield setting.measure(True, CROWD, rounds)
        yield setting.measure(True, 1, rounds)


@contextmanager
def _postgresql() -> Iterator[tuple[int, tuple[str, ...]]]:
    """A database server: its first process, and the settings of a stack whose ledger is there."""
    with temporary_folder() as folder, free_ports() as (port, *_):
        server = Postgresql(postgresql.programs(), folder, "127.0.0.1", port)
        server.make(secrets.token_hex())
        try:
            server.start()
            assert server.child
            yield server.child.pid, server.ledger
        finally:
            server.stop()
