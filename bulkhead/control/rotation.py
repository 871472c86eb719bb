"""Which instances nginx gives requests to, as an operator says it: by marker files.

A file `run/out/NAME` takes an instance out. The watchdog sees it and tells nginx; nginx tells
anybody who asks what it has been told and how many requests each instance still has. With
`proxy.balancer = "nginx"` there is nobody to tell: then every wait here ends at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bulkhead.clock import wait_until
from bulkhead.control import peers
from bulkhead.errors import StartError, StateError
from bulkhead.render.paths import Home
from bulkhead.topology.model import Topology

TOLD_S = 5  # how long the watchdog may take to see a file and tell nginx
EVERY_S = 0.01


@dataclass(frozen=True)
class Rotation:
    """The instances of one stack in and out of rotation."""

    home: Home
    watched: bool

    @staticmethod
    def of(topology: Topology) -> "Rotation":
        """The rotation of a running stack."""
        return Rotation(Home(topology.home), topology.proxy.balancer == "watched")

    def take_out(self, name: str, grace_s: float) -> int:
        """Give an instance no more requests, and wait until it has answered what it has.

        Returns how many it still has after `grace_s`.

        Raises:
            StateError: nginx is not told within `TOLD_S`; the instance is as before.
        """
        if not self.watched:
            return 0
        marked = self.is_marked(name)
        self.mark(name)
        if not wait_until(lambda: self._state(name) == "out", TOLD_S, EVERY_S):
            if not marked:
                self.unmark(name)
            raise StateError(
                f"{name} was to leave the rotation, and nginx still gives it requests after "
                f"{TOLD_S} s: does the program `watch` run? See `make status` and `make logs`"
            )
        wait_until(lambda: self._in_flight(name) == 0, grace_s, EVERY_S)
        return self._in_flight(name)

    def put_back(self, name: str) -> None:
        """Give an instance requests again, and wait until nginx does.

        Raises:
            StartError: it does not within `TOLD_S`.
        """
        if not self.watched:
            return
        self.unmark(name)
        if not wait_until(lambda: self._state(name) == "up", TOLD_S, EVERY_S):
            raise StartError(
                f"{name} says that it is ready, and nginx gives it no requests after {TOLD_S} s: "
                f"to nginx it is `{self._state(name) or 'unknown'}`; see `make logs`"
            )

    def mark(self, name: str) -> None:
        """Ask for an instance to be taken out."""
        self.home.out.mkdir(mode=0o700, exist_ok=True)
        (self.home.out / name).touch()

    def unmark(self, name: str) -> None:
        """Ask no more."""
        (self.home.out / name).unlink(missing_ok=True)

    def is_marked(self, name: str) -> bool:
        """Whether an operator has taken it out."""
        return (self.home.out / name).exists()

    def serving(self, names: Iterable[str]) -> list[str]:
        """Those of these instances that nginx gives requests now."""
        if not self.watched:
            return list(names)
        up = {one.name for one in self._peers() if one.state == "up"}
        return [name for name in names if name in up]

    def _state(self, name: str) -> str:
        return next((one.state for one in self._peers() if one.name == name), "")

    def _in_flight(self, name: str) -> int:
        return next((one.in_flight for one in self._peers() if one.name == name), 0)

    def _peers(self) -> "list[peers.Peer]":
        return peers.read(self.home.internal_socket)
