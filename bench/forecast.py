"""The model's tables: what 10, 100 and 1,000 hosts need, and what is exhausted first. Pure."""

from collections.abc import Callable
from dataclasses import asdict

from bench import model
from bench.model import Constants, Site, Use
from bench.tables import Cell, Table, shown

SIZES = (10, 100, 1000)
MEGA = 1e6
DAY_S = 86_400

Figure = Callable[[Constants, Site], float]

FIGURES: dict[str, Figure] = {
    "requests/s": lambda _known, site: site.requests_s,
    "instances": lambda _known, site: site.peers,
    "the choice of an instance, us a request": model.pick_us,
    "proxies, if only nginx's cores counted": model.proxies,
    "a watchdog woken for each announcement, cores": model.watchdog_eager,
    "another table stops each nginx worker for, ms": model.take_ms,
    "database commits/s": model.commits_s,
    "rows on all hosts, MB/s": lambda known, site: model.rows_octets_s(known, site) / MEGA,
    "rows on all hosts, TB a day": lambda known, site: (
        model.rows_octets_s(known, site) * DAY_S / MEGA**2
    ),
    "seconds of accounting for each of traffic": model.account_s,
}


def tables(known: Constants) -> list[Table]:
    """The constants, what can be exhausted, and what else there is to know."""
    measured = Table("the model's constants", ("constant", "value"))
    measured.rows += [[name, _exact(value)] for name, value in asdict(known).items()]
    return [measured, exhaustible(known), figures(known)]


def _exact(value: float) -> str:
    """Three digits that matter also of what is small: it is multiplied by much."""
    return f"{value:.3g}" if value < 1 else shown(float(value))


def exhaustible(known: Constants) -> Table:
    """Each thing at each size, with its share, and the most hosts that it is enough for."""
    sites = list(map(Site, SIZES))
    columns = ("what", "there is", *(f"{size:,} hosts" for size in SIZES), "lasts for hosts")
    table = Table("what can be exhausted, and its share", columns)
    for reckoned in model.RECKONED:
        found = [reckoned(known, site) for site in sites]
        last = model.lasts(known, sites[0], reckoned)
        row: list[Cell] = [found[0].name, shown(found[0].capacity), *map(_used, found)]
        table.rows.append([*row, "any" if last == model.MOST_HOSTS else f"{last:,}"])
    table.notes += [_verdict(known, site) for site in sites]
    return table


def _used(use: Use) -> str:
    return f"{shown(use.used)} ({100 * use.share:,.0f} %)"


def _verdict(known: Constants, site: Site) -> str:
    """In words: what is exhausted, worst first, or what is nearest to it."""
    found = model.uses(known, site)
    beyond = [f"{one.name} ({one.share:,.1f} times)" for one in found if one.share > 1]
    within = [f"{one.name} ({100 * one.share:,.0f} %)" for one in found if one.share <= 1]
    said = f"{site.hosts:,} hosts: exhausted: {', '.join(beyond) or 'nothing'}"
    return "; next: ".join([said, *within[:1]])


def figures(known: Constants) -> Table:
    """What has no capacity of its own, or none that is known."""
    sites = list(map(Site, SIZES))
    table = Table("what else it means", ("what", *(f"{size:,} hosts" for size in SIZES)))
    for name, figure in FIGURES.items():
        table.rows.append([name, *(figure(known, site) for site in sites)])
    return table
