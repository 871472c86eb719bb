"""The instances as nginx's watched balancer knows them: a table, a line an instance.

`SERVICE NAME ADDRESS WEIGHT STATE BOOT`, separated by single spaces. nginx begins with the table in
`etc/peers`; from then on the watchdog puts it at its internal listener (`PUT /peers`), where `GET
/peers` shows what nginx knows. nginx's own balancer knows none. Standard library only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from bulkhead.http_probe import ask_nginx

NOBODY = "nobody\n"  # the table of a proxy that knows no instance yet

State = Literal["up", "down", "drained", "hung"]


@dataclass(frozen=True)
class Peer:
    """One instance: `up` may be chosen, `down` is dead, `drained` lives and gets no requests.

    Of one that is `hung` a process is about to be killed.
    """

    service: str
    name: str
    address: str
    weight: int
    state: State = "up"
    boot: int = 0  # the pid of its leader, so that a restart is seen; 0 when it is not known
    in_flight: int = 0  # requests that it has now, as nginx counts them; never in a table for nginx


@dataclass(frozen=True)
class Told:
    """nginx's knowledge; `fresh` is whether it was told within the last second."""

    fresh: bool
    peers: list[Peer]


def table(peers: Iterable[Peer]) -> str:
    """The text for nginx."""
    lines = (
        f"{peer.service} {peer.name} {peer.address} {peer.weight} {peer.state} {peer.boot}\n"
        for peer in peers
    )
    return "".join(lines) or NOBODY


def look(socket: Path) -> Told | None:
    """nginx's knowledge now; None when it does not answer or has another balancer."""
    answer = ask_nginx(socket, "/peers")
    if answer.status != 200:
        return None
    first, *lines = answer.body.decode().splitlines()
    return Told(first == "fresh", [_peer(line) for line in lines])


def read(socket: Path) -> list[Peer]:
    """The instances that nginx knows now; empty when it does not answer."""
    told = look(socket)
    return told.peers if told else []


def _peer(line: str) -> Peer:
    service, name, address, weight, state, boot, in_flight = line.split(" ")
    return Peer(service, name, address, int(weight), cast(State, state), int(boot), int(in_flight))
