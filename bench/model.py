"""What a stack of many application hosts would need, reckoned from what a small one spends. Pure.

Everything is a product of a rate and a measured constant (docs/scale.md writes it out), for one
proxy in front of all hosts and one database behind them: whatever comes out above its capacity is
to be divided, or done in another way. A `us` is a microsecond of processor time.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

MILLION = 1e6
# Fixed by the code that is measured, not by the machine.
TICKS_PER_S = 20  # watch/loop.py, TICK_S: the table's text is made in each
ANNOUNCED_PER_S = 10  # watch/announcer.py, EVERY_S
POOL = 5  # services/api/sql_server.py, CONNECTIONS of each process
# nginx/balancer.conf.j2, lua_shared_dict of 1 MB: 253 pages of 4,096 octets are left for values.
# The table is one of them; each worker's count of each peer takes one of 128 octets.
DICT_OCTETS, COUNT_OCTETS = 253 * 4096, 128
BODY_OCTETS = 1 << 20  # nginx/internal.conf.j2, client_max_body_size of PUT /peers
MOST_HOSTS = 1_000_000  # "lasts" looks no further


@dataclass(frozen=True)
class Constants:
    """What was measured, on one machine in one run.

    Of nginx and of an instance: us a request, reads and writes; `pick_us` is what each further peer
    adds to a request. Of the database: us a commit, commits a write. Of a watchdog: us for an
    announcement that it is woken for (`wake_us`, and for each peer that it knows `wake_peer_us`),
    for one more in the same wake-up (`each_us`), for a peer in each tick (`tick_us`), and the cores
    that it uses anyway (`idle_cores`). `take_us`: of an nginx worker, for each peer of a table that
    is another one. `send_octets`: the longest PUT that one send(2) takes. `peer_octets`: a line of
    the table. Rows: octets a request on the proxy's host (`proxy_row`) and on the instances'
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
    send_octets: float
    announcement_octets: float
    peer_octets: float
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
    disk_octets_s: float = 200e6  # of the proxy's host
    network_octets_s: float = 125e6  # 1 Gbit/s

    @property
    def peers(self) -> int:
        """Lines of nginx's table."""
        return self.hosts * self.instances

    @property
    def requests_s(self) -> float:
        """Of all hosts together."""
        return self.hosts * self.per_host_s


@dataclass(frozen=True)
class Use:
    """How much of one thing is used, of how much there is."""

    name: str
    used: float
    capacity: float

    @property
    def share(self) -> float:
        """1 is all of it."""
        return self.used / self.capacity


Reckoned = Callable[[Constants, Site], Use]


def mix(site: Site, read: float, write: float) -> float:
    """The mean over a site's requests of what a read and a write cost."""
    return (1 - site.writes) * read + site.writes * write


def pick_us(known: Constants, site: Site) -> float:
    """What the choice among so many peers adds to each request."""
    return known.pick_us * site.peers


def proxy(known: Constants, site: Site) -> Use:
    """Cores that nginx needs."""
    each = mix(site, known.nginx_read_us, known.nginx_write_us) + pick_us(known, site)
    return Use("proxy: cores of nginx", site.requests_s * each / MILLION, site.proxy_cores)


def watchdog(known: Constants, site: Site) -> Use:
    """The part of its one thread that it needs when it takes many announcements at a time."""
    heard = site.hosts * ANNOUNCED_PER_S * known.each_us
    ticks = TICKS_PER_S * site.peers * known.tick_us
    return Use("proxy: watchdog's thread", known.idle_cores + (heard + ticks) / MILLION, 1)


def watchdog_eager(known: Constants, site: Site) -> float:
    """Cores that it would use if it were woken for each announcement; beyond 1 it takes several."""
    each = known.wake_us + known.wake_peer_us * site.peers
    ticks = TICKS_PER_S * site.peers * known.tick_us
    return known.idle_cores + (site.hosts * ANNOUNCED_PER_S * each + ticks) / MILLION


def table_send(known: Constants, site: Site) -> Use:
    """Octets of PUT /peers, which must go with one send."""
    return Use("proxy: PUT /peers, octets", site.peers * known.peer_octets, known.send_octets)


def table_body(known: Constants, site: Site) -> Use:
    """The same against the largest body that nginx takes there."""
    return Use("proxy: body of PUT /peers", site.peers * known.peer_octets, BODY_OCTETS)


def shared_dict(known: Constants, site: Site) -> Use:
    """Octets in nginx's shared dictionary: the table, and a count a worker of each peer."""
    counts = COUNT_OCTETS * site.proxy_cores if site.proxy_cores > 1 else 0
    used = site.peers * (known.peer_octets + counts)
    return Use("proxy: shared dict, octets", used, DICT_OCTETS)


def announcements(known: Constants, site: Site) -> Use:
    """Octets per second that reach each proxy."""
    used = site.hosts * ANNOUNCED_PER_S * known.announcement_octets
    return Use("proxy: announcements, octets/s", used, site.network_octets_s)


def proxy_rows(known: Constants, site: Site) -> Use:
    """Octets per second of rows on the proxy's disk."""
    return Use("proxy: rows, octets/s", site.requests_s * known.proxy_row, site.disk_octets_s)


def application(known: Constants, site: Site) -> Use:
    """Cores of one application host that its instances need; the same however many hosts."""
    each = mix(site, known.instance_read_us, known.instance_write_us)
    return Use("a host: cores of instances", site.per_host_s * each / MILLION, site.host_cores)


def commits_s(known: Constants, site: Site) -> float:
    """Transactions per second."""
    return site.requests_s * site.writes * known.commits


def database(known: Constants, site: Site) -> Use:
    """Cores that its transactions need."""
    used = commits_s(known, site) * known.database_us / MILLION
    return Use("database: cores", used, site.database_cores)


def connections(_known: Constants, site: Site) -> Use:
    """Connections that all pools together may open."""
    return Use("database: connections", float(site.peers * POOL), site.max_connections)


RECKONED: Sequence[Reckoned] = (
    proxy,
    watchdog,
    table_send,
    table_body,
    shared_dict,
    announcements,
    proxy_rows,
    application,
    database,
    connections,
)


def uses(known: Constants, site: Site) -> list[Use]:
    """Everything that can be exhausted, what is nearest to it (or furthest beyond) first."""
    found = [one(known, site) for one in RECKONED]
    return sorted(found, key=lambda use: use.share, reverse=True)


def proxies(known: Constants, site: Site) -> int:
    """How many proxies so many requests need, if nothing but nginx's cores counted."""
    return math.ceil(proxy(known, site).share)


def lasts(known: Constants, site: Site, reckoned: Reckoned) -> int:
    """The most hosts with which this is not exhausted, others being as in `site`; at most
    MOST_HOSTS, which stands for "for ever".
    """
    low, high = 0, MOST_HOSTS + 1
    while high - low > 1:
        middle = (low + high) // 2
        enough = reckoned(known, replace(site, hosts=middle)).share <= 1
        low, high = (middle, high) if enough else (low, middle)
    return low


def take_ms(known: Constants, site: Site) -> float:
    """How long each nginx worker serves nobody when one instance of all changes its state."""
    return site.peers * known.take_us / 1000


def rows_octets_s(known: Constants, site: Site) -> float:
    """Octets of rows per second on all hosts together."""
    return site.requests_s * (known.proxy_row + known.service_rows)


def account_s(known: Constants, site: Site) -> float:
    """Seconds of accounting for each second of traffic; beyond 1 it never catches up."""
    return site.requests_s * known.account_us / MILLION
