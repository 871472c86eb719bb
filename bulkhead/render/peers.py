"""The instances as nginx's watched balancer knows them: a table, a line an instance.

`SERVICE NAME ADDRESS WEIGHT STATE BOOT`, separated by single spaces. The same text is what nginx
begins with (`etc/peers`) and what it is told over its internal listener (`PUT /peers`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from bulkhead.render.files import File
from bulkhead.render.paths import Home
from bulkhead.topology.model import Topology

NOBODY = "nobody\n"  # the table of a proxy that knows no instance yet

State = Literal["up", "down", "out"]


@dataclass(frozen=True)
class Peer:
    """One instance. `up` may be chosen; `down` is dead; `out` lives, but is in no rotation."""

    service: str
    name: str
    address: str
    weight: int
    state: State = "up"
    boot: int = 0  # the pid of its leader, so that a restart is seen; 0 when nobody knows
    in_flight: int = 0  # requests that it has now, as nginx counts them; never in a table for nginx


def table(peers: Iterable[Peer]) -> str:
    """The text for nginx."""
    return (
        "".join(
            f"{one.service} {one.name} {one.address} {one.weight} {one.state} {one.boot}\n"
            for one in peers
        )
        or NOBODY
    )


def render_peers(topology: Topology) -> File:
    """Every instance, called up: what nginx believes until the watchdog has told it more."""
    peers = [Peer(one.service, one.name, one.address, one.weight) for one in topology.instances()]
    return File(Home(topology.home).peers, table(peers))
