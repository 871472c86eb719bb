"""Hosts as network namespaces: real processes behind real links, and nothing of them is left."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.clock import now
from bulkhead.errors import StateError
from bulkhead.hosts import netns
from bulkhead.hosts.interface import HostError
from bulkhead.hosts.netns import Network, Throttle, ip
from bulkhead.http_probe import accepts
from bulkhead.testing import wait_until
from tests.support.spaces import require_namespaces

pytestmark = pytest.mark.live

LIVES_S = 600  # a test kills what it has started; should it be killed first, that ends by itself

# Listens at its host's address, and forks a child that counts. It never waits for its own end: only
# who kills, freezes or slows it down decides how far it gets.
PROGRAM = f"""
import os, socket, sys, time
listener = socket.create_server((sys.argv[1], 7))
if os.fork() == 0:
    for count in range({LIVES_S} * 1000):
        open(sys.argv[2], "w").write(str(count))
        time.sleep(0.001)
    os._exit(0)
time.sleep({LIVES_S})
"""


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """A network of two hosts."""
    require_namespaces()
    made = Network(tmp_path / "network.json", ["a", "b"])
    try:
        made.make()
        yield made
    finally:
        for name in ("a", "b"):
            netns.kill(made.namespace(name))
        netns.remove(tmp_path / "network.json")


@pytest.fixture
def counter(network: Network, tmp_path: Path) -> Iterator[Path]:
    """What the program on host a has counted to."""
    file = tmp_path / "count"
    words = [sys.executable, "-c", PROGRAM, network.addresses["a"], str(file)]
    child = subprocess.Popen(["ip", "netns", "exec", network.namespace("a"), *words])
    wait_until("it listens and counts", lambda: listening(network) and file.exists())
    yield file
    netns.kill(network.namespace("a"))
    child.wait()


def listening(network: Network) -> bool:
    return accepts(network.addresses["a"], 7)


def counts(file: Path) -> bool:
    """Whether it goes on within a tenth of a second."""
    before, until = file.read_text(), now() + 0.1
    while now() < until:
        if file.read_text() not in ("", before):
            return True
    return False


@pytest.mark.usefixtures("counter")
def test_hosts_have_addresses_of_their_own_in_one_network(network: Network) -> None:
    assert len({*network.addresses.values()}) == 2
    told = json.loads(ip("-n", network.namespace("a"), "-j", "address", "show", "eth0"))
    addresses = [one["local"] for one in told[0]["addr_info"] if one["family"] == "inet"]
    assert addresses == [network.addresses["a"]]
    assert not accepts(network.addresses["b"], 7)


def test_without_a_link_there_is_silence_and_no_reset(network: Network, counter: Path) -> None:
    network.disconnect("a")
    assert not network.connected("a")
    assert network.connected("b")
    assert not listening(network)
    wait_until("it runs on", lambda: counts(counter))
    network.connect("a")
    wait_until("it is back", lambda: listening(network))


def test_all_of_a_host_is_frozen_and_goes_on(network: Network, counter: Path) -> None:
    netns.freeze(network.namespace("a"))
    assert netns.frozen(network.namespace("a"))
    assert not counts(counter)
    assert listening(network), "the kernel accepts for it"
    netns.thaw(network.namespace("a"))
    wait_until("it runs on again", lambda: counts(counter))


@pytest.mark.usefixtures("counter")
def test_all_of_a_host_is_killed(network: Network) -> None:
    assert len(netns.members(network.namespace("a"))) == 2
    netns.kill(network.namespace("a"))
    assert netns.members(network.namespace("a")) == []
    assert not listening(network)


def test_a_throttle_leaves_a_share_of_the_time(network: Network, counter: Path) -> None:
    throttle = Throttle(network.namespace("a"), 0.2)
    wait_until("it is seen to stand", lambda: netns.frozen(network.namespace("a")))
    wait_until("it is seen to move", lambda: not netns.frozen(network.namespace("a")))
    throttle.remove()
    assert not netns.frozen(network.namespace("a"))
    wait_until("it runs on again", lambda: counts(counter))


def test_what_a_killed_process_has_left_is_found_and_removed(tmp_path: Path) -> None:
    require_namespaces()
    script = (
        "import sys, time; from pathlib import Path; from bulkhead.hosts.netns import Network\n"
        f"made = Network(Path({str(tmp_path / 'n')!r}), ['a']); made.make()\n"
        f"print(made.namespace('a'), flush=True); time.sleep({LIVES_S})"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    space = child.stdout.readline().strip()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert space in ip("netns", "list")
    netns.remove(tmp_path / "n")
    assert space not in ip("netns", "list")
    assert space.partition("-")[0] not in [one["ifname"] for one in json.loads(ip("-j", "link"))]
    netns.remove(tmp_path / "n")  # nothing is written down any more


def test_two_networks_do_not_overlap(network: Network, tmp_path: Path) -> None:
    other = Network(tmp_path / "other", ["a"])
    assert other.network != network.network


def test_only_root_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StateError, match="only root can make network namespaces"):
        Network(tmp_path / "n", ["a"])


def test_what_the_system_refuses_is_told_in_its_words() -> None:
    require_namespaces()
    with pytest.raises(HostError, match=r"^ip netns delete nobody: "):
        ip("netns", "delete", "nobody")


def test_nobody_is_in_a_namespace_that_is_not_there() -> None:
    assert netns.members("nobody") == []
    assert not netns.frozen("nobody")
    assert proc.find(os.getpid())
