"""Checks before anything starts, all complaints at once: ports, limits, keys, disks."""

import errno
import os
import resource
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

import psutil

from bulkhead.errors import StateError
from bulkhead.proc import may_duplicate
from bulkhead.render.nginx import descriptors, most_connections
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import WATCH
from bulkhead.supervise.home import KEY_CHARACTERS, unsafe
from bulkhead.topology.model import LEAST_CONNECTIONS, Topology

LEAST_DISK_KB = 1024  # of each disk: the configuration, pids and logs of a start take 200
KERNEL = Path("/proc/sys/net/ipv4")


@dataclass(frozen=True)
class Listener:
    """A listening socket. `pid` is None when it belongs to another user."""

    host: str
    port: int
    pid: int | None

    def describe(self) -> str:
        """The owner for a person: `pid 812 (python)`."""
        if self.pid is None:
            return "a process of another user"
        try:
            return f"pid {self.pid} ({psutil.Process(self.pid).name()})"
        except psutil.NoSuchProcess:
            return f"pid {self.pid}"


def check(topology: Topology, own: list[int]) -> None:
    """Raise StateError with all that keeps the stack from starting, but ports of the pids `own`."""
    if complaints := [
        *unsafe(Home(topology.home)),
        *_ports_taken(topology, own),
        *_too_few_files(topology),
        *_too_little_disk(Home(topology.home)),
        *_no_key(topology),
        *_cannot_hear(topology, own),
    ]:
        raise StateError(*complaints)


def notes(topology: Topology) -> list[str]:
    """A line for each thing that works less well on this system, though the stack starts."""
    if may_duplicate():
        return []
    gap = "a killed nginx refuses connections until its workers have ended"
    if topology.proxy.balancer == "watched":
        gap = "a gunicorn whose master is killed drains before it starts again"
    return [f"pidfd_getfd(2) is not permitted here: {gap} (docs/supervision.md)"]


def warnings(topology: Topology) -> list[str]:
    """A line for each thing that may keep the stack from starting at another time."""
    wanted = _wanted(topology)
    if topology.hosts.hear:
        host, _, port = topology.hosts.hear.rpartition(":")
        wanted.append(("hosts.hear", WATCH, host, int(port)))
    random = set(ephemeral(port for _, _, _, port in wanted))
    listed: dict[str, list[str]] = {}
    for key, name, _, number in wanted:
        if number in random:
            listed.setdefault(key, []).append(f"{name} on {number}")
    return [
        f"warning: {topology.source}: {key}: {', '.join(names)}: {ephemeral_hint()}"
        for key, names in listed.items()
    ]


def _wanted(topology: Topology) -> list[tuple[str, str, str, int]]:
    """Every TCP listener: its setting, the name of the listener, its host and port."""
    wanted = []
    if topology.has_proxy:
        host, _, port = topology.proxy.listen.rpartition(":")
        wanted.append(("proxy.listen", "nginx", host, int(port)))
    wanted += [
        (f"services.{instance.service}.port", instance.name, instance.host, instance.port)
        for instance in topology.instances()
    ]
    return wanted


def _ports_taken(topology: Topology, own: list[int]) -> list[str]:
    taken = [listener for listener in listeners() if listener.pid not in own]
    return [
        f"{topology.source}: {key}: {name} would listen on {host}:{port}, "
        f"which {owner.describe()} holds; stop that, or choose another port"
        for key, name, host, port in _wanted(topology)
        if (owner := blocking(host, port, taken))
    ]


def _too_few_files(topology: Topology) -> list[str]:
    needed = descriptors(topology)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return []
    most = most_connections(hard)
    remedy = f"raise that limit to {needed}"
    if most >= LEAST_CONNECTIONS:
        remedy += f", or set proxy.connections = {most}"
    return [
        f"{topology.source}: proxy.connections = {topology.proxy.connections}: needs {needed} open "
        f"files, this user may have {hard} (ulimit -Hn); {remedy}"
    ]


def _too_little_disk(home: Home) -> list[str]:
    """Each folder may be a disk of its own; on a full one supervisord dies without a word."""
    complaints: dict[int, str] = {}  # by disk
    for folder in (home.etc, home.run, home.log, home.tmp):  # with full rows/ and data/ it starts
        place = next(path for path in (folder, *folder.parents) if path.exists())
        disk = os.statvfs(place)
        free_kb = disk.f_bavail * disk.f_frsize // 1024
        if free_kb < LEAST_DISK_KB:
            complaints.setdefault(
                place.stat().st_dev,
                f"stack.home: the disk of {folder} has {free_kb:,} KB free, a start needs "
                f"{LEAST_DISK_KB:,} KB; free some, or choose another home",
            )
    return list(complaints.values())


def _no_key(topology: Topology) -> list[str]:
    """Without a key the watchdog ends as soon as it starts, and says so in its log alone."""
    given, wrong = topology.hosts.key_file, ""
    try:
        characters = len((topology.root / given).read_bytes().strip()) if given else KEY_CHARACTERS
        if characters < KEY_CHARACTERS:
            wrong = f"holds {characters} characters; a key has {KEY_CHARACTERS} or more"
    except OSError as error:
        wrong = f"cannot be read: {error.strerror}; make one, the same on all hosts"
    key = f"{topology.source}: hosts.key_file = {given}"
    return [f"{key}: {wrong} (openssl rand -hex 32)"] if wrong else []


def _cannot_hear(topology: Topology, own: list[int]) -> list[str]:
    """Whether the proxy's watchdog could not hear other hosts: nginx would know no instance."""
    hear = topology.hosts.hear
    if not hear:
        return []
    host, _, port = hear.rpartition(":")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
            trial.bind((host, int(port)))
            return []
    except OSError as error:
        wrong = f"cannot be bound: {error.strerror}; it must be an address of this host"
        if error.errno == errno.EADDRINUSE:
            others = [other for other in listeners("udp") if other.pid not in own]
            if (owner := blocking(host, int(port), others)) is None:
                return []
            wrong = f"{owner.describe()} holds it; stop that, or choose another port"
    return [f"{topology.source}: hosts.hear = {hear}: {wrong}"]


def listeners(kind: Literal["tcp", "udp"] = "tcp") -> list[Listener]:
    """Every listening TCP socket of this host, or every UDP socket."""
    return [
        Listener(each.laddr.ip, each.laddr.port, each.pid)
        for each in psutil.net_connections(kind)
        if each.status in (psutil.CONN_LISTEN, psutil.CONN_NONE) and each.laddr
    ]


def blocking(host: str, port: int, taken: list[Listener]) -> Listener | None:
    """The listener that makes bind(2) to host:port fail."""
    return next(
        (other for other in taken if other.port == port and _overlap(host, other.host)), None
    )


def _overlap(host: str, other_host: str) -> bool:
    """Whether two addresses of one port cannot both be bound: same one, or a wildcard over it."""
    wanted, other = ip_address(host.strip("[]")), ip_address(other_host)
    if wanted.version == other.version:
        return wanted == other or wanted.is_unspecified or other.is_unspecified
    # On Linux [::] takes the port of every IPv4 address too (bindv6only is off by default).
    return (wanted if wanted.version == 6 else other).is_unspecified


def ephemeral(ports: Iterable[int]) -> list[int]:
    """Those that the kernel may give to any outgoing connection (ip(7), ip_local_port_range)."""
    first, last = _numbers("ip_local_port_range")
    spared = (KERNEL / "ip_local_reserved_ports").read_text().strip()
    reserved = [tuple(map(int, part.split("-"))) for part in spared.split(",") if part]
    return [
        port
        for port in ports
        if first <= port <= last and not any(span[0] <= port <= span[-1] for span in reserved)
    ]


def ephemeral_hint() -> str:
    """Advice to an operator about such a port."""
    first, last = _numbers("ip_local_port_range")
    return (
        f"the kernel gives {first} to {last} to outgoing connections (net.ipv4.ip_local_port_range)"
        f", so a start fails at random; choose a port below {first}, or reserve it (sysctl "
        "net.ipv4.ip_local_reserved_ports)"
    )


def _numbers(name: str) -> list[int]:
    return list(map(int, (KERNEL / name).read_text().split()))
