"""What many hosts would need: the arithmetic, at constants that a reader can multiply by hand."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from bench import model
from bench.model import Constants, Site
from bulkhead.hosts import postgresql
from bulkhead.watch import announcer, loop
from services.api import sql_server

KNOWN = Constants(
    nginx_read_us=100.0, nginx_write_us=200.0, pick_us=0.05,
    instance_read_us=500.0, instance_write_us=4000.0,
    database_us=1000.0, commits=1.0,
    wake_us=20.0, wake_peer_us=0.1, each_us=10.0, tick_us=0.2, idle_cores=0.02,
    take_us=4.0,
    send_octets=200_000.0, announcement_octets=400.0, peer_octets=50.0,
    proxy_row=500.0, service_rows=400.0, account_us=50.0,
)  # fmt: skip
TEN, HUNDRED, THOUSAND = (Site(hosts) for hosts in (10, 100, 1000))


def used(reckoned: model.Reckoned, site: Site) -> float:
    return reckoned(KNOWN, site).used


def test_the_arithmetic_of_a_hundred_hosts() -> None:
    assert (HUNDRED.peers, HUNDRED.requests_s) == (600, 30_000)
    # A request: 0.7 x 100 + 0.3 x 200 us, and 600 x 0.05 us for the choice.
    assert model.pick_us(KNOWN, HUNDRED) == pytest.approx(30)
    assert used(model.proxy, HUNDRED) == pytest.approx(30_000 * 160e-6)
    # What it uses anyway, 1,000 announcements of 10 us, 20 ticks of 600 x 0.2 us.
    assert used(model.watchdog, HUNDRED) == pytest.approx(0.02 + 0.01 + 0.0024)
    # Woken for each: 20 + 600 x 0.1 us.
    assert model.watchdog_eager(KNOWN, HUNDRED) == pytest.approx(0.02 + 0.08 + 0.0024)
    assert used(model.announcements, HUNDRED) == 400_000
    assert used(model.table_send, HUNDRED) == used(model.table_body, HUNDRED) == 30_000
    assert used(model.shared_dict, HUNDRED) == 600 * (50 + 8 * 128)
    assert used(model.proxy_rows, HUNDRED) == 15e6
    assert used(model.application, HUNDRED) == pytest.approx(300 * 1550e-6)
    assert model.commits_s(KNOWN, HUNDRED) == pytest.approx(9000)
    assert used(model.database, HUNDRED) == pytest.approx(9)
    assert used(model.connections, HUNDRED) == 3000
    assert model.rows_octets_s(KNOWN, HUNDRED) == pytest.approx(27e6)
    assert model.account_s(KNOWN, HUNDRED) == pytest.approx(1.5)


def test_one_worker_counts_without_the_shared_dictionary() -> None:
    assert used(model.shared_dict, replace(HUNDRED, proxy_cores=1)) == 600 * 50


@pytest.mark.parametrize("reckoned", model.RECKONED)
def test_more_hosts_never_need_less(reckoned: model.Reckoned) -> None:
    sizes = [used(reckoned, Site(hosts)) for hosts in (1, 10, 100, 1000)]
    assert sizes == sorted(sizes)
    assert all(sizes)


@pytest.mark.parametrize("name", [one.name for one in fields(Constants)])
def test_what_costs_more_uses_more_somewhere(name: str) -> None:
    """Every constant that is measured counts: none is asked for and then left out."""

    def figures(known: Constants) -> list[float]:
        found = [one(known, HUNDRED).share for one in model.RECKONED]
        more = (model.watchdog_eager, model.rows_octets_s, model.account_s, model.take_ms)
        return found + [one(known, HUNDRED) for one in more]

    dearer = replace(KNOWN, **{name: 2 * getattr(KNOWN, name)})
    pairs = list(zip(figures(KNOWN), figures(dearer), strict=True))
    assert any(before != after for before, after in pairs)
    if name != "send_octets":  # a capacity
        assert all(before <= after for before, after in pairs)


def test_the_bottleneck_is_named_first() -> None:
    assert model.uses(KNOWN, TEN)[0].name == "database: connections"
    pooled = replace(THOUSAND, max_connections=100_000)
    found = model.uses(KNOWN, pooled)
    assert found[0].name == "proxy: cores of nginx"
    assert found[0].share == pytest.approx(300_000 * (130 + 300) / 1e6 / 8)
    assert [one.share for one in found] == sorted((one.share for one in found), reverse=True)


def test_proxies_are_whole_ones() -> None:
    assert [model.proxies(KNOWN, site) for site in (TEN, HUNDRED, THOUSAND)] == [1, 1, 17]


def test_how_many_hosts_it_lasts_for() -> None:
    assert model.lasts(KNOWN, TEN, model.connections) == 200 // (6 * 5)
    assert model.lasts(KNOWN, TEN, model.table_send) == 200_000 // (6 * 50)
    assert model.lasts(KNOWN, TEN, model.application) == model.MOST_HOSTS
    hosts = model.lasts(KNOWN, TEN, model.proxy)
    assert model.proxy(KNOWN, Site(hosts)).share <= 1 < model.proxy(KNOWN, Site(hosts + 1)).share


def test_what_the_code_fixes_is_as_the_code_has_it() -> None:
    assert pytest.approx(1 / loop.TICK_S) == model.TICKS_PER_S
    assert pytest.approx(1 / announcer.EVERY_S) == model.ANNOUNCED_PER_S
    assert (model.POOL, TEN.max_connections) == (sql_server.CONNECTIONS, postgresql.CONNECTIONS)
    assert "lua_shared_dict bulkhead 1m;" in Path("nginx/balancer.conf.j2").read_text()
    assert "client_max_body_size 1m;" in Path("nginx/internal.conf.j2").read_text()
