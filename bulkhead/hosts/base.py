"""The hosts that a drill breaks: what there is of them, and what can be done to each.

A proxy, application hosts, a database. What a host is, a network namespace or a container, is for
an implementation to know. Docs: docs/hosts.md.
"""

import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bulkhead.clock import wait_until
from bulkhead.control import peers
from bulkhead.errors import BulkheadError, StartError
from bulkhead.render.paths import Home
from bulkhead.topology.model import Instance, Topology

PROXY, DATABASE = "proxy", "database"
KNOWN_S = 60  # from the last host's start until the proxy knows all of its instances
CONNECT_S = 0.25
ANSWER_S = 2.0
POSTGRESQL = 5432


@dataclass(frozen=True)
class Host:
    """A host as the target of a fault. `name` is how it is called in the names of its instances,
    `word` how a drill calls it."""

    name: str
    word: str


class HostError(BulkheadError):
    """Something could not be done to a host; it says what the system answered."""

    code = 6


class Hosts(ABC):
    """Every host of one stack.

    `proxy` is the home of the proxy's host, `homes` those of the application hosts, by what a drill
    calls these: app-1, app-2, ... `network` is where they are, `url` where clients reach the proxy.
    `export` is the command that prints the ledger (drill/ledger.py).
    Whatever is done to a host raises HostError where it fails, and is a matter of one host: what is
    done to another meanwhile is no matter.
    """

    kind: str
    proxy: Home
    homes: Mapping[str, Home]
    url: str
    network: str
    export: Sequence[str]

    @abstractmethod
    def __init__(
        self, topology: Topology, settings: Sequence[str], folder: Path, count: int
    ) -> None:
        """Nothing runs yet; `settings` are for the proxy and `count` application hosts alike.

        Raises:
            StateError, MissingError: there can be no such hosts here.
        """

    @abstractmethod
    def begin(self) -> None:
        """Start all of them; return when the proxy knows every instance.

        Raises:
            HostError, StartError: one of them did not start; some may run.
        """

    @abstractmethod
    def end(self) -> None:
        """End all of them, in whatever state they are; rows and logs stay."""

    @staticmethod
    @abstractmethod
    def clear(folder: Path) -> None:
        """End the hosts that a killed process may have left; nothing where there are none."""

    def host(self, name: str) -> Host:
        """A host as the target of a fault."""
        return Host(DATABASE if name == DATABASE else self.called(name), name)

    @abstractmethod
    def called(self, name: str) -> str:
        """How an application host is called in the names of its instances."""

    @abstractmethod
    def address(self, name: str) -> str:
        """Its address now."""

    @abstractmethod
    def kill(self, name: str) -> None:
        """End all of its processes at once, and take it off the network."""

    @abstractmethod
    def stop(self, name: str) -> None:
        """Shut it down in an orderly way: everything is told to end, and does."""

    @abstractmethod
    def start(self, name: str) -> None:
        """Start one that was killed or stopped; return when what runs on it is told to run."""

    @abstractmethod
    def freeze(self, name: str) -> None:
        """Stop all of its processes; the kernel goes on to answer for them."""

    @abstractmethod
    def thaw(self, name: str) -> None:
        """Let them go on."""

    @abstractmethod
    def cut(self, name: str) -> None:
        """Take it off the network: from now on silence, both ways, and no reset."""

    @abstractmethod
    def join(self, name: str) -> None:
        """Put it back on the network."""

    @abstractmethod
    def slow(self, name: str, share: float) -> None:
        """Give it this share: of the time in namespaces, of one processor in containers."""

    @abstractmethod
    def hasten(self, name: str) -> None:
        """Give it all it had before."""

    @abstractmethod
    def tells(self) -> bool:
        """Whether the database answers a query."""

    @abstractmethod
    def runs(self, name: str) -> bool:
        """Whether any of its processes lives, frozen or not."""

    @abstractmethod
    def frozen(self, name: str) -> bool:
        """Whether none of its processes can run."""

    @abstractmethod
    def slowed(self, name: str) -> bool:
        """Whether its processes get less than they could use."""

    @abstractmethod
    def joined(self, name: str) -> bool:
        """Whether it is on the network."""

    # What is the same for every kind.

    def wait_known(self) -> None:
        """Wait until every application host answers, and the proxy chooses it.

        Raises:
            StartError: it does not.
        """
        left = list(self.homes)

        def all_known() -> bool:
            left[:] = [name for name in left if not self.answers(name)]
            return not left

        if not wait_until(all_known, KNOWN_S):
            names = ", ".join(left)
            raise StartError(f"{names}: not known to the proxy, or silent, after {KNOWN_S} s")

    def instances(self) -> list[Instance]:
        """Every instance that the proxy knows now, dead ones too."""
        return [
            Instance(one.name, one.service, host, int(port), one.weight)
            for one in peers.read(self.proxy.internal_socket)
            for host, _, port in [one.address.rpartition(":")]
        ]

    def instances_of(self, name: str) -> list[Instance]:
        """Those of one host."""
        suffix = f".{self.called(name)}"
        return [one for one in self.instances() if one.name.endswith(suffix)]

    def answers(self, name: str) -> bool:
        """Whether the host does its work: seen from outside, and by the proxy.

        An application host: each instance answers in its own name, and the proxy chooses it. The
        database: it answers a query.
        """
        if name == DATABASE:
            return accepts(self.address(name), POSTGRESQL) and self.tells()
        found = self.instances_of(name)
        up = {one.name for one in peers.read(self.proxy.internal_socket) if one.state == "up"}
        return bool(found) and all(one.name in up and answers(one) for one in found)


def accepts(host: str, port: int) -> bool:
    """Whether connecting works; nothing is sent."""
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError:
        return False
    return True


def answers(instance: Instance, patience_s: float = ANSWER_S) -> bool:
    """Whether it answers at its own address, in its own name."""
    connection = HTTPConnection(instance.host, instance.port, timeout=patience_s)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        return answer.status == 200 and answer.headers["X-Instance"] == instance.name
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
