"""Network namespaces of this machine: the network that connects them, and the processes in each.

The network is a switch and a veth link from it to each host and to us. The switch is a bridge in a
namespace of its own: this machine's packet filter, in which Docker may drop the traffic of a
bridge, does not apply there. Only root may make one. Its names are written down before it is made,
so that `remove` finds the leftovers of a killed process. Everything that is made, removed, killed
or frozen raises HostError where it fails.
"""

import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals

import psutil

from bulkhead import proc
from bulkhead.atomic import BROKEN, replace
from bulkhead.clock import pause, wait_until
from bulkhead.errors import StateError
from bulkhead.hosts.interface import HostError, run
from bulkhead.proc import Process

# Networks to choose from, in the private range 10/8 (RFC 1918).
BITS = 24
NETWORKS = list(IPv4Network("10.203.0.0/16").subnets(new_prefix=BITS))
IP_S = 30
SWITCH = "switch"
NAME = re.compile(r"bh\d+(-[a-z0-9-]+)?")  # of links and namespaces of a drill: with its pid
SPACES = Path("/run/netns")  # where ip-netns(8) keeps their names
ALL_S = 10  # until every process has been seen dead or stopped: one may just have forked
PERIOD_S = 0.1  # of a throttled host: it runs for its share of each


class Network:
    """We have the first address of a free network, the hosts have those that follow."""

    def __init__(self, file: Path, hosts: Sequence[str]) -> None:
        """Choose names and addresses; nothing is made yet.

        StateError if this is not root, or every network is taken.
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
        self._own_address = f"{first}/{BITS}"

    def namespace(self, host: str) -> str:
        """The name of a host's namespace."""
        return f"{self._name}-{host}"

    def make(self) -> None:
        """Make all of it; every host is connected."""
        spaces = [self.namespace(host) for host in (*self.addresses, SWITCH)]
        # After a reboot there is nothing of it, so it need not outlive one.
        names = {"link": self._name, "namespaces": spaces}
        replace(self._file, json.dumps(names), durable=False)
        switch = self.namespace(SWITCH)
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "name", "switch", "type", "bridge")
        ip("-n", switch, "link", "set", "switch", "up")
        ip("link", "add", self._name, "type", "veth", "peer", "name", "us", "netns", switch)
        ip("address", "add", self._own_address, "dev", self._name)
        ip("link", "set", self._name, "up")
        self._attach("us")
        for host, address in self.addresses.items():
            space = self.namespace(host)
            ip("netns", "add", space)
            peer = ("type", "veth", "peer", "name", "eth0", "netns", space)
            ip("-n", switch, "link", "add", "name", host, *peer)
            ip("-n", space, "address", "add", f"{address}/{BITS}", "dev", "eth0")
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "link", "set", "eth0", "up")
            self._attach(host)

    def _attach(self, port: str) -> None:
        ip("-n", self.namespace(SWITCH), "link", "set", "dev", port, "master", "switch")
        self.connect(port)

    def connect(self, host: str) -> None:
        """Connect a host."""
        ip("-n", self.namespace(SWITCH), "link", "set", "dev", host, "up")

    def disconnect(self, host: str) -> None:
        """Take its veth link down at the switch: everything that is sent either way is lost."""
        ip("-n", self.namespace(SWITCH), "link", "set", "dev", host, "down")

    def connected(self, host: str) -> bool:
        """Whether it is connected."""
        (link,) = json.loads(ip("-n", self.namespace(SWITCH), "-j", "link", "show", "dev", host))
        return "UP" in link["flags"]


def namespaces(file: Path) -> list[str]:
    """The namespaces that there are of the network that is written down in a file."""
    return [space for space in _names(file)[1] if (SPACES / space).exists()]


def remove(file: Path) -> None:
    """Remove the network that is written down in a file, if there is one; its hosts are dead."""
    if not file.exists():
        return
    link, _ = _names(file)
    if link in (known["ifname"] for known in json.loads(ip("-j", "link", "show"))):
        ip("link", "delete", link)
    for space in namespaces(file):
        ip("netns", "delete", space)
    file.unlink()


def _names(file: Path) -> tuple[str, list[str]]:
    """The link and the namespaces in a file; none of either without a readable file."""
    try:
        names = json.loads(file.read_text())
        link, spaces = names["link"], names["namespaces"]
    except (FileNotFoundError, *BROKEN):
        return "", []
    # Only names of ours, in case the file is garbled.
    ours = [name for name in (link, *spaces) if NAME.fullmatch(str(name))]
    return (link if link in ours else ""), [space for space in spaces if space in ours]


def ip(*words: str) -> str:
    """Run ip(8) with these words; its output.

    HostError if it failed, with its message. MissingError if it is not installed.
    """
    return run(["ip", *words], IP_S, package="iproute2")


def _free_network() -> IPv4Network:
    """One that no route of this machine leads to."""
    routes = [route["dst"] for route in json.loads(ip("-j", "route"))]
    taken = [IPv4Network(route) for route in routes if route[0].isdigit()]
    # Two drills that start at one moment see the same routes: let each look elsewhere first.
    first = os.getpid() % len(NETWORKS)
    for network in NETWORKS[first:] + NETWORKS[:first]:
        if not any(network.overlaps(other) for other in taken):
            return network
    raise StateError(f"every network from {NETWORKS[0]} to {NETWORKS[-1]} is taken")


def members(space: str) -> list[Process]:
    """Every live process of a namespace; none when there is no such namespace."""
    try:
        wanted = (SPACES / space).stat().st_ino
    except FileNotFoundError:
        return []
    found = (proc.find(pid) for pid in psutil.pids() if _inode(pid) == wanted)
    return sorted(filter(None, found))


def _inode(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino  # noqa: PTH116 - a Path a process is slower
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0


def kill(space: str) -> None:
    """SIGKILL of every process."""
    _send_until(space, SIGKILL, lambda _: False, "killed")


def freeze(space: str) -> None:
    """SIGSTOP of every process."""
    _send_until(space, SIGSTOP, proc.stopped, "stopped")


def thaw(space: str) -> None:
    """SIGCONT of every process: it also takes a SIGSTOP back that has not arrived (signal(7))."""
    _send(members(space), SIGCONT)


def frozen(space: str) -> bool:
    """Whether every process is stopped."""
    found = members(space)
    return bool(found) and all(map(proc.stopped, found))


def _send_until(space: str, number: Signals, obeys: Callable[[Process], bool], done: str) -> None:
    """Send a signal until every process obeys it or is gone."""

    def all_obey() -> bool:
        others = [member for member in members(space) if not obeys(member)]
        _send(others, number)
        return not others

    if not wait_until(all_obey, ALL_S):
        raise HostError(f"{space}: a process cannot be {done}")


def _send(processes: Iterable[Process], number: Signals) -> None:
    for member in processes:
        proc.send(member, number)


class Throttle:
    """Lets the processes of a namespace run for a share of the time, until it is removed."""

    def __init__(self, space: str, share: float) -> None:
        self._space = space
        self._share = share
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"throttle-{space}", daemon=True)
        self._thread.start()

    def remove(self) -> None:
        """Let them run as before."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                found = members(self._space)
                _send(found, SIGSTOP)
                self._over.wait(PERIOD_S * (1 - self._share))
                _send(found, SIGCONT)
                pause(PERIOD_S * self._share)
        finally:
            thaw(self._space)
