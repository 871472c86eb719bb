"""What many hosts would need: the arithmetic, at constants that a reader can multiply by hand."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from bench import model
from bench.model import Constants, Site
from bulkhead.hosts import postgresql
from bulkhead.watchdog import hosts, loop
from services.api.ledger import server

KNOWN = Constants(
    nginx_read_us=100.0, nginx_write_us=200.0, pick_us=0.05,
    instance_read_us=500.0, instance_write_us=4000.0,
    database_us=1000.0, commits=1.0,
    wake_us=20.0, wake_peer_us=0.1, each_us=10.0, tick_us=0.2, idle_cores=0.02,
    take_us=4.0,
    send_bytes=200_000.0, announcement_bytes=400.0, peer_bytes=50.0,
    proxy_row=500.0, service_rows=400.0, account_us=50.0,
)  # fmt: skip
TEN, HUNDRED, THOUSAND = (Site(hosts) for hosts in (10, 100, 1000))


def uses(site: Site, known: Constants = KNOWN) -> dict[str, model.Use]:
    return {use.name: use for use in model.needs(known, site).uses}


def test_the_arithmetic_of_a_hundred_hosts() -> None:
    used = {name: use.used for name, use in uses(HUNDRED).items()}
    figures = model.needs(KNOWN, HUNDRED).figures
    assert (figures["instances"], figures["requests/s"]) == (600, 30_000)
    # A request: 0.7 x 100 + 0.3 x 200 us, and 600 x 0.05 us for the choice.
    assert figures["the choice of an instance, us a request"] == pytest.approx(30)
    assert used["proxy: cores of nginx"] == pytest.approx(30_000 * 160e-6)
    # What it uses anyway, 1,000 announcements of 10 us, 20 ticks of 600 x 0.2 us.
    assert used["proxy: watchdog's thread"] == pytest.approx(0.02 + 0.01 + 0.0024)
    # Woken for each: 20 + 600 x 0.1 us.
    eager = figures["a watchdog woken for each announcement, cores"]
    assert eager == pytest.approx(0.02 + 0.08 + 0.0024)
    assert used["proxy: announcements, bytes/s"] == 400_000
    assert used["proxy: PUT /peers, bytes"] == used["proxy: body of PUT /peers"] == 30_000
    assert used["proxy: shared dict, bytes"] == 600 * (50 + 8 * 128)
    assert used["proxy: rows, bytes/s"] == 15e6
    assert used["a host: cores of instances"] == pytest.approx(300 * 1550e-6)
    assert figures["database commits/s"] == pytest.approx(9000)
    assert used["database: cores"] == pytest.approx(9)
    assert used["database: connections"] == 3000
    assert figures["rows on all hosts, MB/s"] == pytest.approx(27)
    assert figures["seconds of accounting for each of traffic"] == pytest.approx(1.5)


def test_one_worker_counts_without_the_shared_dictionary() -> None:
    assert uses(replace(HUNDRED, proxy_cores=1))["proxy: shared dict, bytes"].used == 600 * 50


@pytest.mark.parametrize("name", uses(TEN))
def test_more_hosts_never_need_less(name: str) -> None:
    sizes = [uses(Site(hosts))[name].used for hosts in (1, 10, 100, 1000)]
    assert sizes == sorted(sizes)
    assert all(sizes)


@pytest.mark.parametrize("name", [one.name for one in fields(Constants)])
def test_what_costs_more_uses_more_somewhere(name: str) -> None:
    """Every constant that is measured counts: none is asked for and then left out."""

    def figures(known: Constants) -> list[float]:
        found = model.needs(known, HUNDRED)
        return [use.share for use in found.uses] + list(found.figures.values())

    dearer = replace(KNOWN, **{name: 2 * getattr(KNOWN, name)})
    pairs = list(zip(figures(KNOWN), figures(dearer), strict=True))
    assert any(before != after for before, after in pairs)
    if name != "send_bytes":  # a capacity
        assert all(before <= after for before, after in pairs)


def test_the_bottleneck_is_named_first() -> None:
    assert "exhausted: database: connections (1.5 times)" in model.tables(KNOWN)[1].notes[0]
    pooled = replace(THOUSAND, max_connections=100_000)
    said = model.verdict(list(uses(pooled).values()))
    assert said.startswith("exhausted: proxy: cores of nginx (16.1 times), ")
    share = uses(pooled)["proxy: cores of nginx"].share
    assert share == pytest.approx(300_000 * (130 + 300) / 1e6 / 8)


def test_proxies_are_whole_ones() -> None:
    found = [model.needs(KNOWN, site).figures for site in (TEN, HUNDRED, THOUSAND)]
    assert [one["proxies, if only nginx's cores counted"] for one in found] == [1, 1, 17]


def test_how_many_hosts_it_lasts_for() -> None:
    numbers = {name: number for number, name in enumerate(uses(TEN))}
    last = {name: model.lasts(KNOWN, TEN, number) for name, number in numbers.items()}
    assert last["database: connections"] == 200 // (6 * 5)
    assert last["proxy: PUT /peers, bytes"] == 200_000 // (6 * 50)
    assert last["a host: cores of instances"] == model.MOST_HOSTS
    hosts = last["proxy: cores of nginx"]
    shares = [uses(Site(each))["proxy: cores of nginx"].share for each in (hosts, hosts + 1)]
    assert shares[0] <= 1 < shares[1]


def test_nothing_lasts_for_any_host_where_one_is_too_many() -> None:
    connections = list(uses(TEN)).index("database: connections")
    assert model.lasts(KNOWN, replace(TEN, max_connections=29), connections) == 0


def test_what_the_code_fixes_is_as_the_code_has_it() -> None:
    assert pytest.approx(1 / loop.TICK_S) == model.TICKS_PER_S
    assert pytest.approx(1 / hosts.EVERY_S) == model.ANNOUNCED_PER_S
    assert (model.POOL, TEN.max_connections) == (server.CONNECTIONS, postgresql.CONNECTIONS)
    assert "lua_shared_dict bulkhead 1m;" in Path("nginx/balancer.conf.j2").read_text()
    assert "client_max_body_size 1m;" in Path("nginx/internal.conf.j2").read_text()


def test_each_thing_at_each_size_and_how_far_it_lasts() -> None:
    found = {row[0]: row[1:] for row in model.tables(KNOWN)[1].rows}
    assert len(found) == len(uses(TEN))
    connections = ["200", "300 (150 %)", "3,000 (1,500 %)", "30,000 (15,000 %)", "6"]
    assert found["database: connections"] == connections
    assert found["a host: cores of instances"][-1] == "any"


def test_the_notes_name_all_that_is_exhausted_and_what_comes_next() -> None:
    ten, hundred, thousand = model.tables(KNOWN)[1].notes
    assert ten.startswith("10 hosts: exhausted: database: connections (1.5 times); next: ")
    assert "cores" not in hundred.partition("; next")[0]
    named = thousand.partition("; next")[0]
    beyond = [name for name, use in uses(THOUSAND).items() if use.share > 1]
    assert len(beyond) > 3
    assert all(name in named for name in beyond)


def test_whole_things_are_shown_whole() -> None:
    found = {row[0]: row[1:] for row in model.tables(KNOWN)[2].rows}
    assert found["instances"] == [60, 600, 6000]
    assert found["proxies, if only nginx's cores counted"] == [1, 1, 17]


def test_a_reader_can_redo_it_with_the_constants_that_are_shown() -> None:
    known = replace(KNOWN, pick_us=0.045312)
    found = {row[0]: row[1] for row in model.tables(known)[0].rows}
    assert found["pick_us"] == "0.0453"
    assert found["send_bytes"] == "200,000"
    assert list(found) == [one.name for one in fields(KNOWN)]
