"""A network of namespaces on this machine: a switch, and a cable from it to each host and to us.

The switch is a bridge in a namespace of its own: this machine's packet filter, which Docker tells
to drop what crosses a bridge, has no say there. Only root may make one. It is written down before
it is made, so that `remove` finds what a killed process has left.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from bulkhead.errors import MissingError, StateError
from bulkhead.hosts.base import HostError

# Networks to choose from, in the private range 10/8 (RFC 1918).
NETWORKS = list(IPv4Network("10.203.0.0/16").subnets(new_prefix=24))
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
IP_S = 30
SWITCH = "switch"


class Network:
    """We have the first address of a free network, the hosts have those that follow."""

    def __init__(self, file: Path, hosts: Sequence[str]) -> None:
        """Choose names and addresses; nothing is made yet.

        Raises:
            StateError: this is not root, or every network is taken.
        """
        if os.geteuid() != 0:
            raise StateError(
                "only root can make network namespaces: run the drill as root, or with "
                "--hosts containers"
            )
        chosen = _free_network()
        first, *others = (str(chosen[number]) for number in range(1, 2 + len(hosts)))
        self.network = str(chosen)
        self.addresses = dict(zip(hosts, others, strict=True))
        self._file = file
        self._name = f"bh{os.getpid()}"
        self._own_address = f"{first}/{chosen.prefixlen}"
        self._bits = chosen.prefixlen

    def namespace(self, host: str) -> str:
        """What the namespace of a host is called."""
        return f"{self._name}-{host}"

    def make(self) -> None:
        """Make all of it; every host is connected.

        Raises:
            HostError: the system refuses.
        """
        spaces = [self.namespace(one) for one in (*self.addresses, SWITCH)]
        self._file.write_text(json.dumps({"link": self._name, "namespaces": spaces}))
        switch = self.namespace(SWITCH)
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "name", "switch", "type", "bridge")
        ip("-n", switch, "link", "set", "switch", "up")
        ip("link", "add", self._name, "type", "veth", "peer", "name", "us", "netns", switch)
        ip("address", "add", self._own_address, "dev", self._name)
        ip("link", "set", self._name, "up")
        self._connect("us")
        for host, address in self.addresses.items():
            space = self.namespace(host)
            ip("netns", "add", space)
            peer = ("type", "veth", "peer", "name", "eth0", "netns", space)
            ip("-n", switch, "link", "add", "name", host, *peer)
            ip("-n", space, "address", "add", f"{address}/{self._bits}", "dev", "eth0")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "eth0", "up")
            self._connect(host)

    def _connect(self, port: str) -> None:
        ip("-n", self.namespace(SWITCH), "link", "set", "dev", port, "master", "switch")
        self.plug(port)

    def plug(self, host: str) -> None:
        """Connect a host."""
        ip("-n", self.namespace(SWITCH), "link", "set", "dev", host, "up")

    def unplug(self, host: str) -> None:
        """Pull its cable at the switch: whatever is sent either way is lost."""
        ip("-n", self.namespace(SWITCH), "link", "set", "dev", host, "down")

    def plugged(self, host: str) -> bool:
        """Whether it is connected."""
        (link,) = json.loads(ip("-n", self.namespace(SWITCH), "-j", "link", "show", "dev", host))
        return "UP" in link["flags"]


def namespaces(file: Path) -> list[str]:
    """The namespaces of the network that is written down in a file; none where there is none."""
    return list(json.loads(file.read_text())["namespaces"]) if file.exists() else []


def remove(file: Path) -> None:
    """Take away the network that is written down in a file, if there is one; its hosts are dead.

    Raises:
        HostError: the system refuses.
    """
    if not file.exists():
        return
    link = json.loads(file.read_text())["link"]
    if link in (one["ifname"] for one in json.loads(ip("-j", "link", "show"))):
        ip("link", "delete", link)
    there = ip("netns", "list").split()
    for space in namespaces(file):
        if space in there:
            ip("netns", "delete", space)
    file.unlink()


def ip(*words: str) -> str:
    """ip(8) with these words; what it printed.

    Raises:
        HostError: it failed, with what it said.
        MissingError: it is not installed.
    """
    try:
        done = subprocess.run(
            ["ip", *words],
            env={**os.environ, "PATH": PATH},
            capture_output=True,
            text=True,
            timeout=IP_S,
            start_new_session=True,  # Ctrl-C is for us; a half-made network cannot be taken away
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"ip {' '.join(words)}: no end in {IP_S} s") from None
    except FileNotFoundError:
        raise MissingError("ip is not installed: apt-get install iproute2") from None
    if done.returncode != 0:
        raise HostError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _free_network() -> IPv4Network:
    """One that no route of this machine leads to."""
    routes = [route["dst"] for route in json.loads(ip("-j", "route"))]
    taken = [IPv4Network(one) for one in routes if one[0].isdigit()]
    # Two drills that begin at one moment see the same routes: let each begin elsewhere.
    begin = os.getpid() % len(NETWORKS)
    for one in NETWORKS[begin:] + NETWORKS[:begin]:
        if not any(one.overlaps(other) for other in taken):
            return one
    raise StateError(f"every network from {NETWORKS[0]} to {NETWORKS[-1]} is taken")
