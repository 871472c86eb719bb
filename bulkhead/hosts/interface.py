"""The hosts of one stack that a drill breaks: a proxy, application hosts, a database.

See docs/hosts.md. A host is a network namespace (namespaces.py) or a container (containers.py).
"""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bulkhead import peer_table
from bulkhead.clock import wait_until
from bulkhead.errors import BulkheadError, MissingError, StartError
from bulkhead.http_probe import accepts, answers
from bulkhead.render.paths import Home
from bulkhead.topology.model import Instance, Topology

PROXY, DATABASE = "proxy", "database"
KNOWN_S = 60  # from the last host's start until the proxy knows all of its instances
POSTGRESQL = 5432


@dataclass(frozen=True)
class Host:
    """A host as the target of a fault."""

    name: str  # a part of the names of its instances
    word: str  # its name in a drill


class HostError(BulkheadError):
    """Something could not be done to a host; it has the system's answer."""

    code = 6


class Hosts(Protocol):
    """Every host of one stack.

    `proxy` is the home of the proxy's host, `homes` those of the application hosts by their names
    in a drill: app-1, app-2, ... `network` is the network of all of them, `url` where clients reach
    the proxy. `export` is the command that prints the ledger (drill/collect.py).
    Every act on a host raises HostError where it fails. Acts on different hosts may overlap.
    """

    kind: str
    _folder: Path
    proxy: Home
    homes: Mapping[str, Home]
    url: str
    network: str
    export: Sequence[str]

    def __init__(
        self, topology: Topology, settings: Sequence[str], folder: Path, count: int
    ) -> None:
        """Nothing runs yet; `settings` are for the proxy and `count` application hosts alike.

        StateError, MissingError if there can be no such hosts here.
        """

    def start_all(self) -> None:
        """Start every host; return when the proxy knows every instance.

        HostError, StartError if one of them did not start; some may run.
        """

    def end_all(self) -> None:
        """End every host, in whatever state it is; rows and logs stay."""
        self.clear(self._folder)

    @staticmethod
    def clear(folder: Path) -> None:
        """End the hosts that a killed process has left in a folder, if there are any."""

    @staticmethod
    def left(folder: Path) -> list[str]:
        """What `clear` would end, for a person: `5 namespaces`."""

    def called(self, name: str) -> str:
        """An application host's part of the names of its instances."""

    def address(self, name: str) -> str:
        """Its address now."""

    def kill(self, name: str) -> None:
        """End all of its processes at once, and take it off the network."""

    def stop(self, name: str) -> None:
        """Shut it down in an orderly way: everything is told to end, and does."""

    def start(self, name: str) -> None:
        """Start one that was killed or stopped; return when its programs are told to run."""

    def freeze(self, name: str) -> None:
        """Stop all of its processes; the kernel goes on to answer for them."""

    def thaw(self, name: str) -> None:
        """Let them go on."""

    def partition(self, name: str) -> None:
        """Take it off the network: from now on silence, both ways, and no reset."""

    def heal(self, name: str) -> None:
        """Put it back on the network."""

    def throttle(self, name: str, share: float) -> None:
        """Give it this share: of the time in namespaces, of one processor in containers."""

    def unthrottle(self, name: str) -> None:
        """Give it all it had before."""

    def database_answers(self) -> bool:
        """Whether the database answers a query."""

    def runs(self, name: str) -> bool:
        """Whether any of its processes lives, frozen or not."""

    def frozen(self, name: str) -> bool:
        """Whether none of its processes can run."""

    def throttled(self, name: str) -> bool:
        """Whether its processes get less than they could use."""

    def connected(self, name: str) -> bool:
        """Whether it is on the network."""

    # The same for every kind

    def host(self, name: str) -> Host:
        """A host as the target of a fault."""
        return Host(DATABASE if name == DATABASE else self.called(name), name)

    def wait_known(self) -> None:
        """Wait until every application host answers, and the proxy chooses it.

        StartError if it does not.
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
        return [_instance(peer) for peer in peer_table.read(self.proxy.internal_socket)]

    def answers(self, name: str) -> bool:
        """Whether the host does its work: seen from outside, and by the proxy.

        An application host: each instance answers in its own name, and the proxy chooses it. The
        database: it answers a query.
        """
        if name == DATABASE:
            return accepts(self.address(name), POSTGRESQL) and self.database_answers()
        suffix = f".{self.called(name)}"
        peers = peer_table.read(self.proxy.internal_socket)
        own = [peer for peer in peers if peer.name.endswith(suffix)]
        return (
            bool(own)
            and all(peer.state == "up" for peer in own)
            and all(answers(one.host, one.port, one.name) for one in map(_instance, own))
        )


def _instance(peer: peer_table.Peer) -> Instance:
    host, _, port = peer.address.rpartition(":")
    return Instance(peer.name, peer.service, host, int(port), peer.weight)


def run(
    words: Sequence[str],
    timeout_s: float,
    *,
    what: str = "",
    package: str = "",
    text: str = "",
    folder: Path | None = None,
) -> str:
    """Run a command to its end, with `text` as its input; its output.

    `what` is its name in an error, `package` Debian's package that has it.
    HostError if it failed, with its message, or it did not end. MissingError if it is not
    installed.
    """
    what = what or shlex.join(words)
    # A host has its own settings. Without a login, /sbin may be missing from PATH.
    environment = {name: value for name, value in os.environ.items() if name != "BULKHEAD_SET"}
    environment["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=environment,
            start_new_session=True,  # Ctrl-C is for us; half a command cannot be undone
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{what}: no end in {timeout_s:g} s") from None
    except FileNotFoundError:
        if not package:
            raise
        raise MissingError(f"{words[0]} is not installed: apt-get install {package}") from None
    if done.returncode != 0:
        raise HostError(f"{what}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
