"""Hosts as network namespaces: real processes behind real cables, and nothing of them is left."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.clock import now
from bulkhead.control import process
from bulkhead.errors import StateError
from bulkhead.hosts import inside, network
from bulkhead.hosts.base import HostError, accepts
from bulkhead.hosts.inside import Brake
from bulkhead.hosts.network import Network, ip
from tests.support.spaces import require_namespaces
from tests.support.waiting import wait_until

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
def cables(tmp_path: Path) -> Iterator[Network]:
    """A network of two hosts."""
    require_namespaces()
    made = Network(tmp_path / "network.json", ["a", "b"])
    try:
        made.make()
        yield made
    finally:
        for name in ("a", "b"):
            inside.kill(made.namespace(name))
        network.remove(tmp_path / "network.json")


@pytest.fixture
def counter(cables: Network, tmp_path: Path) -> Iterator[Path]:
    """What the program on host a has counted to."""
    file = tmp_path / "count"
    words = [sys.executable, "-c", PROGRAM, cables.addresses["a"], str(file)]
    child = subprocess.Popen(["ip", "netns", "exec", cables.namespace("a"), *words])
    wait_until("it listens and counts", lambda: listening(cables) and file.exists())
    yield file
    inside.kill(cables.namespace("a"))
    child.wait()


def listening(cables: Network) -> bool:
    return accepts(cables.addresses["a"], 7)


def counts(file: Path) -> bool:
    """Whether it goes on within a tenth of a second."""
    before, until = file.read_text(), now() + 0.1
    while now() < until:
        if file.read_text() not in ("", before):
            return True
    return False


@pytest.mark.usefixtures("counter")
def test_hosts_have_addresses_of_their_own_in_one_network(cables: Network) -> None:
    assert len({*cables.addresses.values()}) == 2
    told = json.loads(ip("-n", cables.namespace("a"), "-j", "address", "show", "eth0"))
    addresses = [one["local"] for one in told[0]["addr_info"] if one["family"] == "inet"]
    assert addresses == [cables.addresses["a"]]
    assert not accepts(cables.addresses["b"], 7)


def test_without_a_cable_there_is_silence_and_no_reset(cables: Network, counter: Path) -> None:
    cables.unplug("a")
    assert not cables.plugged("a")
    assert cables.plugged("b")
    assert not listening(cables)
    wait_until("it runs on", lambda: counts(counter))
    cables.plug("a")
    wait_until("it is back", lambda: listening(cables))


def test_all_of_a_host_is_frozen_and_goes_on(cables: Network, counter: Path) -> None:
    inside.freeze(cables.namespace("a"))
    assert inside.frozen(cables.namespace("a"))
    assert not counts(counter)
    assert listening(cables), "the kernel accepts for it"
    inside.thaw(cables.namespace("a"))
    wait_until("it runs on again", lambda: counts(counter))


@pytest.mark.usefixtures("counter")
def test_all_of_a_host_is_killed(cables: Network) -> None:
    assert len(inside.members(cables.namespace("a"))) == 2
    inside.kill(cables.namespace("a"))
    assert inside.members(cables.namespace("a")) == []
    assert not listening(cables)


def test_a_brake_leaves_a_share_of_the_time(cables: Network, counter: Path) -> None:
    brake = Brake(cables.namespace("a"), 0.2)
    wait_until("it is seen to stand", lambda: inside.frozen(cables.namespace("a")))
    wait_until("it is seen to move", lambda: not inside.frozen(cables.namespace("a")))
    brake.let_go()
    assert not inside.frozen(cables.namespace("a"))
    wait_until("it runs on again", lambda: counts(counter))


def test_what_a_killed_process_has_left_is_found_and_removed(tmp_path: Path) -> None:
    require_namespaces()
    script = (
        "import sys, time; from pathlib import Path; from bulkhead.hosts.network import Network\n"
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
    network.remove(tmp_path / "n")
    assert space not in ip("netns", "list")
    assert space.partition("-")[0] not in [one["ifname"] for one in json.loads(ip("-j", "link"))]
    network.remove(tmp_path / "n")  # nothing is written down any more


def test_two_networks_do_not_overlap(cables: Network, tmp_path: Path) -> None:
    other = Network(tmp_path / "other", ["a"])
    assert other.network != cables.network


def test_only_root_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StateError, match="only root can make network namespaces"):
        Network(tmp_path / "n", ["a"])


def test_what_the_system_refuses_is_told_in_its_words() -> None:
    require_namespaces()
    with pytest.raises(HostError, match=r"^ip netns delete nobody: "):
        ip("netns", "delete", "nobody")


def test_nobody_is_in_a_namespace_that_is_not_there() -> None:
    assert inside.members("nobody") == []
    assert not inside.frozen("nobody")
    assert process.find(os.getpid())
