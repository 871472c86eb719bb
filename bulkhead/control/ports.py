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
    """The listener that makes bind(2) to host:port fail: same port, same or wildcard address."""
    wanted = ip_address(host.strip("[]"))
    for one in taken:
        other = ip_address(one.host)
        if one.port == port and (other == wanted or other.is_unspecified or wanted.is_unspecified):
            return one
    return None
