"""The instances of other hosts, as their watchdogs tell of them.

A host that has been silent for `SILENT_S` cannot be reached, whatever became of it: its instances
are down. One that stays away for `FORGET_S` is forgotten; whoever comes back is known again with
its first word.
"""

import os
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass

from bulkhead.clock import now
from bulkhead.watch.announcement import Announcement, unpack

SILENT_S = 1.0  # ten announcements in a row
FORGET_S = 60.0
LISTEN_S = 0.3  # three announcements: by then every host that speaks has been heard
LONGEST = 65536
BATCH = 256


@dataclass
class Host:
    """One host; `heard` is when it was last, in monotonic seconds."""

    said: Announcement
    heard: float
    silent: bool = False


class Hosts:
    """The receiving end on a proxy's host.

    Raises:
        OSError: the address cannot be bound.
    """

    def __init__(self, address: str, key: bytes, report: Callable[[str, str], None]) -> None:
        self._key = key
        self._report = report
        self._known: dict[str, Host] = {}
        self._began = now()
        host, _, port = address.rpartition(":")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind((host, int(port)))

    def register(self, selector: selectors.BaseSelector, changed: Callable[[], None]) -> None:
        """Have `changed` called when something has become another than it was."""

        def heard() -> None:
            if self.hear():
                changed()

        selector.register(self.socket, selectors.EVENT_READ, heard)

    def hear(self) -> bool:
        """Take what has arrived; whether nginx's table is another one now."""
        before = self.lines()
        for _ in range(BATCH):
            try:
                datagram = self.socket.recv(LONGEST)
            except OSError:
                break
            said = unpack(self._key, datagram)
            if said is not None:
                self._take(said)
        return self.lines() != before

    def _take(self, said: Announcement) -> None:
        known = self._known.get(said.host)
        if known is None:
            self._known[said.host] = Host(said, now())
            self._report(said.host, "heard for the first time")
            return
        if said.order <= known.said.order:
            return
        if said.life != known.said.life:
            self._report(said.host, "another watchdog speaks for it")
        if known.silent:
            self._report(said.host, f"heard again after {now() - known.heard:.1f} s")
        known.said, known.heard, known.silent = said, now(), False

    def turn(self, late_s: float) -> None:
        """Look who is silent. `late_s` is how long this watchdog itself did not get its turn."""
        for name, host in list(self._known.items()):
            host.heard = min(now(), host.heard + late_s)
            silent = now() - host.heard
            if silent > FORGET_S:
                del self._known[name]
                self._report(name, "forgotten")
            elif silent > SILENT_S and not host.silent:
                host.silent = True
                self._report(name, f"silent for {silent:.1f} s")

    def has_listened(self) -> bool:
        """Whether everybody who speaks has been heard; before, to be unknown means nothing."""
        return now() - self._began >= LISTEN_S

    def lines(self) -> list[str]:
        """Lines of nginx's table, in the same order on every proxy: two policies count by it."""
        return [
            _down(line) if host.silent else line
            for _, host in sorted(self._known.items())
            for line in host.said.lines
        ]

    def close(self) -> None:
        """Hear no more."""
        self.socket.close()


def _down(line: str) -> str:
    *words, state, boot = line.split(" ")
    return " ".join([*words, "out" if state == "out" else "down", boot])


def read_key(path: str | os.PathLike[str]) -> bytes:
    """The key that all hosts of a stack have.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too short to be one.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - the watchdog starts in a hurry
        key = file.read().strip()
    if len(key) < 32:
        raise ValueError(f"{path}: must hold a key of at least 32 characters")
    return key
