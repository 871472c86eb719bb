"""Every fault of hosts, done to real hosts: it is confirmed and undone, and a mistake is told."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bulkhead import peer_table
from bulkhead.faults.contract import FaultError, Site, make
from bulkhead.hosts.interface import DATABASE, Host, HostError, Hosts
from bulkhead.hosts.namespaces import Namespaces
from bulkhead.http_probe import accepts
from bulkhead.supervise import record
from bulkhead.testing import wait_until
from bulkhead.topology.parse import load
from tests.support.http import request
from tests.support.spaces import require_namespaces

pytestmark = [pytest.mark.live, pytest.mark.load, pytest.mark.timeout(400)]

SETTINGS = ("services.api.instances=1", "services.web.instances=1", "services.web.workers=1")
API = 8101


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A proxy, two application hosts, a database."""
    require_namespaces()
    topology = load(Path("stack.toml"), SETTINGS)
    hosts = Namespaces(topology, SETTINGS, tmp_path_factory.mktemp("h") / "x", 2)
    try:
        hosts.start_all()
        running = record.read(hosts.proxy)
        assert running
        yield Site(hosts.proxy, topology, running, hosts)
    finally:
        hosts.end_all()


@pytest.fixture
def hosts(site: Site) -> Hosts:
    hosts = site.hosts
    assert hosts
    wait_until("all of them do their work", lambda: all(map(hosts.answers, hosts.homes)))
    return hosts


def states(hosts: Hosts, name: str) -> set[str]:
    """What the proxy believes of one host's instances."""
    known = peer_table.read(hosts.proxy.internal_socket)
    return {one.state for one in known if one.name.endswith(f".{name}")}


def write(hosts: Hosts, number: int = 4) -> None:
    """Some writes, one after the other, none of which may fail."""
    for one in range(number):
        answer = request(
            hosts.url, "POST", "/api/v1/entries", {"account": "hosts", "amount": 1},
            {"Idempotency-Key": f"key-of-the-write-{one}"},
        )  # fmt: skip
        assert answer.status in (200, 201), answer.body


@pytest.mark.parametrize(
    ("name", "params", "proof"),
    [
        ("host_kill", {}, "no process is left: app-1"),
        ("host_kill", {"unplugged": True}, "no process is left: app-1"),
        ("host_reboot", {}, "has shut down: app-1"),
        ("host_freeze", {}, "every process is frozen: app-1"),
        ("host_cut", {}, "runs, and is on no network: app-1"),
    ],
)
def test_a_host_is_gone_and_comes_back(
    site: Site, hosts: Hosts, name: str, params: dict[str, object], proof: str
) -> None:
    write(hosts)
    injected = make(name, params).injected(site, (hosts.host("app-1"),))
    with injected as said:
        assert said == proof
        wait_until("its silence is noticed", lambda: states(hosts, "app-1") == {"down"})
        assert states(hosts, "app-2") == {"up"}
        write(hosts)
    assert injected.healed == "does its work again: app-1"
    assert states(hosts, "app-1") == {"up"}
    write(hosts)


def test_a_slow_host_is_late_and_in_rotation(site: Site, hosts: Hosts) -> None:
    injected = make("host_slow", {"share": 0.3}).injected(site, (hosts.host("app-2"),))
    with injected as said:
        assert said == "is slowed down: app-2"
        write(hosts)
    assert not hosts.throttled("app-2")
    assert injected.healed == "does its work again: app-2"


@pytest.mark.parametrize("name", ["host_kill", "host_reboot", "host_freeze", "host_cut"])
def test_the_database_is_gone_and_comes_back(site: Site, hosts: Hosts, name: str) -> None:
    write(hosts)
    frozen = name == "host_freeze"
    with make(name, {}).injected(site, (hosts.host(DATABASE),)) as said:
        assert said.endswith(": database")
        assert accepts(hosts.address(DATABASE), 5432) is frozen, "a kernel accepts for the frozen"
    write(hosts)


def test_both_at_once(site: Site, hosts: Hosts) -> None:
    both = (hosts.host("app-1"), hosts.host("app-2"))
    with make("host_freeze", {}).injected(site, both) as said:
        assert said == "every process is frozen: app-1, app-2"
    write(hosts)


def test_what_fails_at_one_host_is_undone_at_the_others(
    site: Site, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = hosts.partition
    done: list[str] = []

    def half(host: str) -> None:
        if host == "app-2":
            raise HostError("no such link")
        partition(host)
        done.append(host)

    monkeypatch.setattr(hosts, "partition", half)
    both = (hosts.host("app-1"), hosts.host("app-2"))
    with pytest.raises(HostError, match="no such link"):
        make("host_cut", {}).injected(site, both).__enter__()
    assert done == ["app-1"]
    assert hosts.connected("app-1")
    write(hosts)


def test_a_stack_on_one_host_has_no_hosts(site: Site) -> None:
    alone = Site(site.home, site.topology, site.record)
    with pytest.raises(FaultError, match="this stack is on one host"):
        make("host_cut", {}).injected(alone, (Host("app-1", "app-1"),)).__enter__()


def test_words_for_hosts(site: Site) -> None:
    def chosen(words: str, busy: frozenset[str] = frozenset()) -> list[str]:
        return [one.name for one in site.choose(words, Random(1), busy)]

    assert chosen("app-2") == ["app-2"]
    assert chosen("all app") == ["app-1", "app-2"]
    assert chosen(DATABASE) == [DATABASE]
    assert chosen("any app", frozenset({"app-1"})) == ["app-2"]
    # What is under a fault gets no second one: the first that ends would undo both.
    assert chosen("app-1", frozenset({"app-1"})) == []
    assert chosen("all app", frozenset({"app-2"})) == []
    assert chosen(DATABASE, frozenset({DATABASE})) == []
    assert chosen("any app", frozenset({"app-1", "app-2"})) == []
