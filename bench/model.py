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

from bench.figures import Table, shown

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
    """The measurements, on one machine in one run."""

    nginx_read_us: float  # a request
    nginx_write_us: float
    pick_us: float  # what each further peer adds to a request in nginx
    instance_read_us: float  # a request
    instance_write_us: float
    database_us: float  # a commit
    commits: float  # a write
    wake_us: float  # of the watchdog: an announcement that it is woken for,
    wake_peer_us: float  # and for each peer that it knows
    each_us: float  # one more announcement in the same wake-up
    tick_us: float  # a peer in each tick
    idle_cores: float  # what it uses anyway
    take_us: float  # of an nginx worker: each peer of a table that is another one
    send_bytes: float  # the longest PUT that one send(2) takes
    announcement_bytes: float
    peer_bytes: float  # a line of the table
    proxy_row: float  # bytes a request on the proxy's host
    service_rows: float  # and on the instances'
    account_us: float  # a request, in the account


@dataclass(frozen=True)
class Site:
    """The load on the stack, and the machines that it has. The defaults are assumptions:
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


class Use(NamedTuple):
    """How much of one thing is used, of how much there is."""

    name: str
    used: float
    capacity: float

    @property
    def share(self) -> float:
        """1 is all of it."""
        return self.used / self.capacity


class Needs(NamedTuple):
    """Everything that can be exhausted; and what has no capacity of its own, or none known."""

    uses: list[Use]
    figures: dict[str, float]


def needs(known: Constants, site: Site) -> Needs:
    """What a site needs of everything."""
    peers = site.hosts * site.instances  # lines of nginx's table
    requests_s = site.hosts * site.per_host_s

    def mix(read: float, write: float) -> float:
        return (1 - site.writes) * read + site.writes * write

    pick_us = known.pick_us * peers
    nginx_us = mix(known.nginx_read_us, known.nginx_write_us) + pick_us
    nginx_cores = requests_s * nginx_us / MILLION
    instance_us = mix(known.instance_read_us, known.instance_write_us)
    commits_s = requests_s * site.writes * known.commits
    table = peers * known.peer_bytes
    counts = peers * COUNT_BYTES * site.proxy_cores if site.proxy_cores > 1 else 0
    announced_s = site.hosts * ANNOUNCED_PER_S
    announced_bytes_s = announced_s * known.announcement_bytes
    ticks_us_s = TICKS_PER_S * peers * known.tick_us
    least_us_s = announced_s * known.each_us + ticks_us_s
    woken_us_s = announced_s * (known.wake_us + known.wake_peer_us * peers) + ticks_us_s
    rows_mb_s = requests_s * (known.proxy_row + known.service_rows) / MILLION
    uses = [
        Use("proxy: cores of nginx", nginx_cores, site.proxy_cores),
        # The part of its one thread, when it takes many announcements at a time.
        Use("proxy: watchdog's thread", known.idle_cores + least_us_s / MILLION, 1),
        # The table must go with one send, and nginx takes no larger body there.
        Use("proxy: PUT /peers, bytes", table, known.send_bytes),
        Use("proxy: body of PUT /peers", table, BODY_BYTES),
        Use("proxy: shared dict, bytes", table + counts, DICT_BYTES),
        Use("proxy: announcements, bytes/s", announced_bytes_s, site.network_bytes_s),
        Use("proxy: rows, bytes/s", requests_s * known.proxy_row, site.disk_bytes_s),
        # The same however many hosts there are.
        Use("a host: cores of instances", site.per_host_s * instance_us / MILLION, site.host_cores),
        Use("database: cores", commits_s * known.database_us / MILLION, site.database_cores),
        # Those that all pools together may open.
        Use("database: connections", float(peers * POOL), site.max_connections),
    ]
    figures: dict[str, float] = {
        "requests/s": requests_s,
        "instances": peers,
        "the choice of an instance, us a request": pick_us,
        "proxies, if only nginx's cores counted": math.ceil(nginx_cores / site.proxy_cores),
        # Beyond 1 it takes several in a wake-up.
        "a watchdog woken for each announcement, cores": known.idle_cores + woken_us_s / MILLION,
        # It serves nobody meanwhile, whenever one instance of all has changed its state.
        "another table stops each nginx worker for, ms": peers * known.take_us / 1000,
        "database commits/s": commits_s,
        "rows on all hosts, MB/s": rows_mb_s,
        "rows on all hosts, TB a day": rows_mb_s * DAY_S / MILLION,
        # Beyond 1 it never catches up.
        "seconds of accounting for each of traffic": requests_s * known.account_us / MILLION,
    }
    return Needs(uses, figures)


def lasts(known: Constants, site: Site, number: int) -> int:
    """The most hosts with which resource `number` is not exhausted, others being as in `site`; at
    most MOST_HOSTS, which stands for "for ever".
    """

    def exhausted(hosts: int) -> bool:
        return needs(known, replace(site, hosts=hosts)).uses[number].share > 1

    return bisect_left(range(1, MOST_HOSTS + 1), True, key=exhausted)


def tables(known: Constants) -> list[Table]:
    """The constants; the resources that can be exhausted, the share that is used and the most hosts
    that each is enough for; and all other figures. For 10, 100 and 1,000 hosts.
    """
    sites = [Site(hosts) for hosts in (10, 100, 1000)]
    heads = [f"{site.hosts:,} hosts" for site in sites]
    found = [needs(known, site) for site in sites]
    constants = Table("the model's constants", ("constant", "value"))
    for name, value in asdict(known).items():
        # Three digits that matter, also of a small value: it is multiplied by a large one.
        text = f"{value:.3g}" if value < 1 else shown(float(value))
        constants.rows.append([name, text])
    columns = ("what", "there is", *heads, "lasts for hosts")
    exhaustible = Table("what can be exhausted, and its share", columns)
    for number, used in enumerate(zip(*(each.uses for each in found), strict=True)):
        shares = [f"{shown(use.used)} ({100 * use.share:,.0f} %)" for use in used]
        last = lasts(known, sites[0], number)
        most = "any" if last == MOST_HOSTS else f"{last:,}"
        exhaustible.rows.append([used[0].name, shown(used[0].capacity), *shares, most])
    exhaustible.notes += [
        f"{head}: {verdict(each.uses)}" for head, each in zip(heads, found, strict=True)
    ]
    means = Table("what else it means", ("what", *heads))
    for name in found[0].figures:
        means.rows.append([name, *(each.figures[name] for each in found)])
    return [constants, exhaustible, means]


def verdict(uses: Sequence[Use]) -> str:
    """In words: everything that is exhausted, worst first, and the nearest to it."""
    ordered = sorted(uses, key=lambda use: use.share, reverse=True)
    beyond = [f"{use.name} ({use.share:,.1f} times)" for use in ordered if use.share > 1]
    within = [f"{use.name} ({100 * use.share:,.0f} %)" for use in ordered if use.share <= 1]
    said = f"exhausted: {', '.join(beyond) or 'nothing'}"
    return "; next: ".join([said, *within[:1]])
