"""What the proxy's rows say about the requests of a load."""

from collections.abc import Iterable
from dataclasses import dataclass

from bulkhead.records import ClientRow, ProxyRow


@dataclass(frozen=True)
class Attempts:
    """The client's requests as nginx saw them."""

    logged: int
    """Requests of the client of which the proxy has a row."""
    moved_on: int
    """Of these, requests that were tried on more than one instance."""
    unknown: tuple[str, ...]
    """Ids of requests that got a whole answer and that the proxy does not know: somebody else
    answered, or a proxy worker was killed between its answer and its row."""


def attempts(client: Iterable[ClientRow], proxy: Iterable[ProxyRow]) -> Attempts:
    """Join the two by request id. Whatever else the proxy logged meanwhile is left out."""
    instances = {row.id: _instances(row.addrs) for row in proxy}
    logged = moved_on = 0
    unknown = []
    for row in client:
        if row.id in instances:
            logged += 1
            moved_on += instances[row.id] > 1
        elif row.status:
            unknown.append(row.id)
    return Attempts(logged, moved_on, tuple(unknown))


def _instances(addrs: str) -> int:
    """At how many addresses it was tried; an upstream's name, which has no port, is none."""
    return len({one for one in addrs.replace(" : ", ", ").split(", ") if ":" in one})
