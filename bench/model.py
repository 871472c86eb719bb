"""The needs of a stack of many application hosts, reckoned from those of a small one. Pure.

Everything is a product of a rate and a measured constant (docs/scale.md writes it out), for one
proxy in front of all hosts and one database behind them. A result above its capacity must be
divided, or done in another way. A `us` is a microsecond of processor time.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from bench.figures import Cell, Table, shown

MILLION = 1e6
DAY_S = 86_400
# Fixed by the code that is measured, not by the machine.
TICKS_PER_S = 20  # watchdog/loop.py, TICK_S: the table's text is made in each
ANNOUNCED_PER_S = 10  # watchdog/hosts.py, EVERY_S
POOL = 5  # services/api/ledger/server.py, CONNECTIONS of each process
# nginx/balancer.conf.j2, lua_shared_dict of 1 MB: 253 pages of 4,096 bytes are left for values.
# The table is one of them; each worker's count of each peer takes one of 128 bytes.
DICT_BYTES, COUNT_BYTES = 253 * 4096, 128
BODY_BYTES = 1 << 20  # nginx/internal.conf.j2, client_max_body_size of PUT /peers
MOST_HOSTS = 1_000_000  # "lasts" looks no further


@dataclass(frozen=True)
class Constants:
    """What was measured, on one machine in one run.

    Of nginx and of an instance: us a request, reads and writes; `pick_us` is what each further peer
    adds to a request. Of the database: us a commit, commits a write. Of a watchdog: us for an
    announcement that it is woken for (`wake_us`, and for each peer that it knows `wake_peer_us`),
    for one more in the same wake-up (`each_us`), for a peer in each tick (`tick_us`), and the cores
    that it uses anyway (`idle_cores`). `take_us`: of an nginx worker, for each peer of a table that
    is another one. `send_bytes`: the longest PUT that one send(2) takes. `peer_bytes`: a line of
    the table. Rows: bytes a request on the proxy's host (`proxy_row`) and on the instances'
    (`service_rows`). `account_us`: a request, in the account.
    """

    nginx_read_us: float
    nginx_write_us: float
    pick_us: float
    instance_read_us: float
    instance_write_us: float
    database_us: float
    commits: float
    wake_us: float
    wake_peer_us: float
    each_us: float
    tick_us: float
    idle_cores: float
    take_us: float
    send_bytes: float
    announcement_bytes: float
    peer_bytes: float
    proxy_row: float
    service_rows: float
    account_us: float


@dataclass(frozen=True)
class Site:
    """What is asked of the stack, and the machines that it has. The defaults are assumptions:
    300 requests per second and host, 30 % of them writes, as in the drills.
    """

    hosts: int
    instances: int = 6  # a host, each one process
    per_host_s: float = 300.0
    writes: float = 0.3
    proxy_cores: int = 8  # and as many nginx workers
    host_cores: int = 6
    database_cores: int = 16
    max_connections: int = 200  # hosts/postgresql.py; PostgreSQL's own default is 100
    disk_bytes_s: float = 200e6  # of the proxy's host
    network_bytes_s: float = 125e6  # 1 Gbit/s

    @property
    def peers(self) -> int:
        """Lines of nginx's table."""
        return self.hosts * self.instances

    @property
    def requests_s(self) -> float:
        """Of all hosts together."""
        return self.hosts * self.per_host_s


class Use(NamedTuple):
    """How much of one thing is used, of how much there is."""

    name: str
    used: float
    capacity: float

    @property
    def share(self) -> float:
        """1 is all of it."""
        return self.used / self.capacity


# The tables: what 10, 100 and 1,000 hosts need, and what is exhausted first.
SITES = tuple(map(Site, (10, 100, 1000)))
HEADS = tuple(f"{site.hosts:,} hosts" for site in SITES)


def uses(known: Constants, site: Site) -> list[Use]:
    """Everything that can be exhausted."""
    table = site.peers * known.peer_bytes
    counts = site.peers * COUNT_BYTES * site.proxy_cores if site.proxy_cores > 1 else 0
    announced = site.hosts * ANNOUNCED_PER_S * known.announcement_bytes
    request_us = mix(site, known.instance_read_us, known.instance_write_us)
    transactions_us = commits_s(known, site) * known.database_us
    return [
        Use("proxy: cores of nginx", nginx_cores(known, site), site.proxy_cores),
        # The part of its one thread, when it takes many announcements at a time.
        Use("proxy: watchdog's thread", watchdog_cores(known, site, known.each_us), 1),
        # The table must go with one send, and nginx takes no larger body there.
        Use("proxy: PUT /peers, bytes", table, known.send_bytes),
        Use("proxy: body of PUT /peers", table, BODY_BYTES),
        Use("proxy: shared dict, bytes", table + counts, DICT_BYTES),
        Use("proxy: announcements, bytes/s", announced, site.network_bytes_s),
        Use("proxy: rows, bytes/s", site.requests_s * known.proxy_row, site.disk_bytes_s),
        # The same however many hosts there are.
        Use("a host: cores of instances", site.per_host_s * request_us / MILLION, site.host_cores),
        Use("database: cores", transactions_us / MILLION, site.database_cores),
        # Those that all pools together may open.
        Use("database: connections", float(site.peers * POOL), site.max_connections),
    ]


def figures(known: Constants, site: Site) -> dict[str, float]:
    """What has no capacity of its own, or none that is known."""
    woken_us = known.wake_us + known.wake_peer_us * site.peers
    rows_mb_s = site.requests_s * (known.proxy_row + known.service_rows) / MILLION
    return {
        "requests/s": site.requests_s,
        "instances": site.peers,
        "the choice of an instance, us a request": pick_us(known, site),
        "proxies, if only nginx's cores counted": math.ceil(
            nginx_cores(known, site) / site.proxy_cores
        ),
        # Beyond 1 it takes several in a wake-up.
        "a watchdog woken for each announcement, cores": watchdog_cores(known, site, woken_us),
        # It serves nobody meanwhile, whenever one instance of all has changed its state.
        "another table stops each nginx worker for, ms": site.peers * known.take_us / 1000,
        "database commits/s": commits_s(known, site),
        "rows on all hosts, MB/s": rows_mb_s,
        "rows on all hosts, TB a day": rows_mb_s * DAY_S / MILLION,
        # Beyond 1 it never catches up.
        "seconds of accounting for each of traffic": site.requests_s * known.account_us / MILLION,
    }


def mix(site: Site, read: float, write: float) -> float:
    """The mean over a site's requests of what a read and a write cost."""
    return (1 - site.writes) * read + site.writes * write


def pick_us(known: Constants, site: Site) -> float:
    """What the choice among so many peers adds to each request."""
    return known.pick_us * site.peers


def nginx_cores(known: Constants, site: Site) -> float:
    """Cores that nginx needs."""
    each = mix(site, known.nginx_read_us, known.nginx_write_us) + pick_us(known, site)
    return site.requests_s * each / MILLION


def watchdog_cores(known: Constants, site: Site, announcement_us: float) -> float:
    """Cores that a proxy's watchdog needs, when each announcement costs it so much."""
    heard = site.hosts * ANNOUNCED_PER_S * announcement_us
    ticks = TICKS_PER_S * site.peers * known.tick_us
    return known.idle_cores + (heard + ticks) / MILLION


def commits_s(known: Constants, site: Site) -> float:
    """Transactions per second."""
    return site.requests_s * site.writes * known.commits


def lasts(known: Constants, site: Site, number: int) -> int:
    """The most hosts with which resource `number` of `uses` is not exhausted, others being as in
    `site`; at most MOST_HOSTS, which stands for "for ever".
    """

    def exhausted(hosts: int) -> bool:
        return uses(known, replace(site, hosts=hosts))[number].share > 1

    return bisect_left(range(1, MOST_HOSTS + 1), True, key=exhausted)


def tables(known: Constants) -> list[Table]:
    """The constants, the resources that can be exhausted, and all other figures."""
    constants: list[Sequence[Cell]] = [
        [name, _exact(value)] for name, value in asdict(known).items()
    ]
    found = [figures(known, site) for site in SITES]
    means: list[Sequence[Cell]] = [[name, *(each[name] for each in found)] for name in found[0]]
    return [
        Table("the model's constants", ("constant", "value"), constants),
        exhaustible(known),
        Table("what else it means", ("what", *HEADS), means),
    ]


def _exact(value: float) -> str:
    """Three digits that matter, also of a small value: it is multiplied by a large one."""
    return f"{value:.3g}" if value < 1 else shown(float(value))


def exhaustible(known: Constants) -> Table:
    """Each thing at each size, with its share, and the most hosts that it is enough for."""
    columns = ("what", "there is", *HEADS, "lasts for hosts")
    table = Table("what can be exhausted, and its share", columns)
    for number, used in enumerate(zip(*(uses(known, site) for site in SITES), strict=True)):
        shares = [f"{shown(use.used)} ({100 * use.share:,.0f} %)" for use in used]
        last = lasts(known, SITES[0], number)
        most = "any" if last == MOST_HOSTS else f"{last:,}"
        table.rows.append([used[0].name, shown(used[0].capacity), *shares, most])
    table.notes += [verdict(known, site) for site in SITES]
    return table


def verdict(known: Constants, site: Site) -> str:
    """In words: everything that is exhausted, worst first, and the nearest to it."""
    ordered = sorted(uses(known, site), key=lambda use: use.share, reverse=True)
    beyond = [f"{use.name} ({use.share:,.1f} times)" for use in ordered if use.share > 1]
    within = [f"{use.name} ({100 * use.share:,.0f} %)" for use in ordered if use.share <= 1]
    said = f"{site.hosts:,} hosts: exhausted: {', '.join(beyond) or 'nothing'}"
    return "; next: ".join([said, *within[:1]])
