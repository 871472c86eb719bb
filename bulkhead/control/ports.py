"""Who listens on which port of this host."""

from dataclasses import dataclass
from ipaddress import ip_address

import psutil


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket. `pid` is None when it belongs to another user."""

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


def listeners() -> list[Listener]:
    """Every listening TCP socket of this host."""
    return [
        Listener(one.laddr.ip, one.laddr.port, one.pid)
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr
    ]


def blocking(host: str, port: int, taken: list[Listener]) -> Listener | None:
    """The listener that makes bind(2) to host:port fail."""
    return next((one for one in taken if one.port == port and _overlap(host, one.host)), None)


def _overlap(host: str, other_host: str) -> bool:
    """Whether two addresses of one port cannot both be bound: same one, or a wildcard over it."""
    wanted, other = ip_address(host.strip("[]")), ip_address(other_host)
    if wanted.version == other.version:
        return wanted == other or wanted.is_unspecified or other.is_unspecified
    # On Linux [::] takes the port of every IPv4 address too (bindv6only is off by default).
    return (wanted if wanted.version == 6 else other).is_unspecified
