"""How the parts of a stack grow with it, and what that means for 10, 100 and 1,000 hosts.

Measured: what a stack carries and spends (carry.py), what a proxy's watchdog spends on other hosts
(hearing.py), what so many peers cost nginx (telling.py), how long an account takes
(accounting.py). Reckoned with these constants: model.py. How to read all of it: docs/scale.md.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench import accounting, carry, forecast, hearing, telling
from bench.carry import Carried
from bench.hearing import Heard, Lived
from bench.model import Constants
from bench.tables import Cell, Table
from bench.telling import Told
from tests.support import databases

# Hosts x instances that the watchdog's own code is timed with; the first and the last of a host of
# its usual size give the constants.
HEARD = ((1, 6), (1, 64), (1, 600), (10, 6), (100, 6), (1000, 6))
# The first has nearly nothing to hear, the second is still woken for each announcement; between 750
# and 800 hosts of six the table outgrows one send of a socket of the usual size.
LIVED, OF_A_HOST = (1, 100, 750, 800, 1000), 6
ACCOUNTED = 100_000
# Reads, writes on SQLite, writes on PostgreSQL: whether it writes, and to a server.
KINDS = ((False, False), (True, False), (True, True))


@dataclass(frozen=True)
class Measured:
    """Everything that the model's constants are taken from."""

    carried: list[Carried]
    heard: list[Heard]
    lived: list[Lived]
    told: list[Told]
    send_octets: int
    account_s: float


def measure(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """The measurements, and then the model's tables.

    Raises:
        RuntimeError: there is no PostgreSQL on this machine, and nothing to reckon with.
    """
    if not databases.POSTGRESQL:
        raise RuntimeError("scale needs PostgreSQL: apt-get install postgresql")
    carried = list(carry.measure(rounds, settings))
    yield _carried(carried, rounds)
    heard = [hearing.heard(*size) for size in HEARD]
    yield _heard(heard)
    lived = list(hearing.lived(LIVED, OF_A_HOST, settings))
    yield _lived(lived)
    told, most = telling.measure(rounds, settings)
    send_octets = telling.one_send()
    yield _told(told, most, send_octets)
    account, account_s = _account()
    yield account
    known = constants(Measured(carried, heard, lived, told, send_octets, account_s))
    yield from forecast.tables(known)


def constants(found: Measured) -> Constants:
    """The model's constants: of the stack with most workers and instances, of hosts of six."""
    read, write, server = (_one(found.carried, *which) for which in KINDS)
    few, many = found.heard[0], found.heard[-1]
    little, much = found.told[0], found.told[-1]
    more = much.peers - little.peers
    wake_peer_us = (many.alone_us - few.alone_us) / ((many.hosts - few.hosts) * few.instances)
    # Code that is called in a loop is quicker than the same in a process that has just been woken,
    # so what does not grow with the peers is taken from the real watchdog.
    idle, busy = found.lived[0], found.lived[1]
    woken_s = busy.announcements_per_s - idle.announcements_per_s
    woken_us = 1e6 * (busy.cores - idle.cores) / woken_s
    rows = [(one.proxy_row, one.service_rows) for one in (read, write)]
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
        send_octets=found.send_octets,
        announcement_octets=few.octets,
        peer_octets=(few.octets - hearing.HEAD_OCTETS) / few.instances,
        proxy_row=max(one[0] for one in rows),
        service_rows=max(one[1] for one in rows),
        account_us=1e6 * found.account_s / ACCOUNTED,
    )


def _one(carried: Sequence[Carried], writes: bool, server: bool) -> Carried:
    """The last that is as wanted: the one with most workers and instances."""
    return next(
        one
        for one in reversed(carried)
        if one.connections == carry.CROWD
        and one.writes == writes
        and (one.ledger == "PostgreSQL") == server
    )


def _carried(found: Sequence[Carried], rounds: int) -> Table:
    table = Table(
        f"carried: median of {rounds} x {carry.SECONDS} s; us are processor time of a request",
        ("ledger", "workers", "instances", "request", "connections", "per s", "nginx us",
         "instance us", "database us", "commits a write", "proxy row", "service rows"),
    )  # fmt: skip
    for one in found:
        row: list[Cell] = [one.ledger, one.workers, one.instances]
        row += ["write" if one.writes else "read", one.connections, one.per_s]
        row += [one.nginx_us, one.instance_us]
        row += [one.database_us or "-", one.commits or "-", one.proxy_row, one.service_rows]
        table.rows.append(row)
        table.details.append(asdict(one))
    busiest = _one(found, *KINDS[0])
    table.notes.append(f"one core of nginx carries {1e6 / busiest.nginx_us:,.0f} reads per second")
    return table


def _heard(found: Sequence[Heard]) -> Table:
    columns = ("hosts", "instances each", "octets", "alone us", "one more us", "table us")
    table = Table("the watchdog hears an announcement", columns)
    for one in found:
        table.rows.append(list(asdict(one).values()))
    return table


def _lived(found: Sequence[Lived]) -> Table:
    columns = ("hosts", "announcements/s", "cores", "nginx knows", "looks that were fresh")
    table = Table(f"a proxy's watchdog, over {hearing.SECONDS:g} s", columns)
    for one in found:
        table.rows.append(list(asdict(one).values()))
    return table


def _told(found: Sequence[Told], most: int, send_octets: int) -> Table:
    columns = ("peers", "octets", "PUT ms", "again ms", "take ms", "nginx us a request", "per s")
    table = Table("nginx with so many peers, one worker", columns)
    for one in found:
        table.rows.append(list(asdict(one).values()))
    table.notes.append(f"one send takes {send_octets:,} octets; nginx takes {most:,} peers")
    return table


def _account() -> tuple[Table, float]:
    """The account of a made-up run: seconds, and octets a request of each observer's rows."""
    with tempfile.TemporaryDirectory() as folder:
        run = accounting.make(Path(folder), ACCOUNTED)
        took = [accounting.measured(run)[0] for _ in range(accounting.ROUNDS)]
        files = (run.client_rows, run.proxy_rows, run.service_rows)
        rows = [path.stat().st_size / ACCOUNTED for path in files]
        size = run.account.stat().st_size / 1e6
    table = Table(
        f"the account of {ACCOUNTED:,} requests; rows in octets a request",
        ("s", "MB", "client row", "proxy row", "service rows"),
        [[median(took), size, *rows]],
    )
    return table, median(took)
