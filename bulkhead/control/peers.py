"""The instances as a running nginx knows them: GET and PUT /peers of its internal listener.

Only with `proxy.balancer = "watched"`; nginx's own balancer knows its configuration and no more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import cast

from bulkhead.control.unix import UnixConnection
from bulkhead.errors import StateError
from bulkhead.render.peers import Peer, State, table

__all__ = ["Peer", "Told", "look", "put", "read"]

TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Told:
    """What nginx knows; `fresh` is whether anybody has told it within the last second."""

    fresh: bool
    peers: list[Peer]


def put(socket: Path, peers: Iterable[Peer]) -> None:
    """Tell nginx of all instances there are.

    Raises:
        OSError, HTTPException: nobody answers at `socket`.
        StateError: nginx refuses the table; it believes what it did before.
    """
    status, text = _ask(socket, "PUT", table(peers))
    if status != 204:
        raise StateError(f"nginx answers {status} to PUT /peers: {text.strip()}")


def look(socket: Path) -> Told | None:
    """What nginx knows now; None when it does not answer or has another balancer."""
    try:
        status, text = _ask(socket, "GET")
    except (OSError, HTTPException):
        return None
    if status != 200:
        return None
    first, *lines = text.splitlines()
    return Told(first == "fresh", [_peer(line) for line in lines])


def read(socket: Path) -> list[Peer]:
    """The instances that nginx knows now; empty when it does not answer."""
    told = look(socket)
    return told.peers if told else []


def _peer(line: str) -> Peer:
    service, name, address, weight, state, boot, in_flight = line.split(" ")
    return Peer(service, name, address, int(weight), cast(State, state), int(boot), int(in_flight))


def _ask(socket: Path, method: str, body: str | None = None) -> tuple[int, str]:
    connection = UnixConnection(socket, TIMEOUT_S)
    try:
        connection.request(method, "/peers", body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
