"""A network of namespaces on this machine: a bridge, and a cable from it to each host.

Only root may make one. It is written down before it is made, so that `remove` finds what a killed
process has left.
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


class Network:
    """The bridge has the first address of a free network, the hosts have those that follow."""

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
        self._bridge = f"bh{os.getpid()}"
        self._bridge_address = f"{first}/{chosen.prefixlen}"
        self._bits = chosen.prefixlen

    def namespace(self, host: str) -> str:
        """What the namespace of a host is called."""
        return f"{self._bridge}-{host}"

    def make(self) -> None:
        """Make all of it; every host is connected.

        Raises:
            HostError: the system refuses.
        """
        spaces = [self.namespace(host) for host in self.addresses]
        self._file.write_text(json.dumps({"bridge": self._bridge, "namespaces": spaces}))
        ip("link", "add", self._bridge, "type", "bridge")
        ip("address", "add", self._bridge_address, "dev", self._bridge)
        ip("link", "set", self._bridge, "up")
        for host, address in self.addresses.items():
            space, cable = self.namespace(host), self._cable(host)
            ip("netns", "add", space)
            ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", cable, "master", self._bridge)
            ip("-n", space, "address", "add", f"{address}/{self._bits}", "dev", "eth0")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "eth0", "up")
            self.plug(host)

    def plug(self, host: str) -> None:
        """Connect a host."""
        ip("link", "set", self._cable(host), "up")

    def unplug(self, host: str) -> None:
        """Pull its cable at the bridge: whatever is sent either way is lost."""
        ip("link", "set", self._cable(host), "down")

    def plugged(self, host: str) -> bool:
        """Whether it is connected."""
        (link,) = json.loads(ip("-j", "link", "show", self._cable(host)))
        return "UP" in link["flags"]

    def _cable(self, host: str) -> str:
        """Of at most 15 characters, which is all that the kernel takes."""
        return f"{self._bridge}p{list(self.addresses).index(host)}"


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
    there = ip("netns", "list").split()
    for space in namespaces(file):
        if space in there:
            ip("netns", "delete", space)
    bridge = json.loads(file.read_text())["bridge"]
    if bridge in (link["ifname"] for link in json.loads(ip("-j", "link", "show"))):
        ip("link", "delete", bridge)
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
            check=False,
        )
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
