"""Several hosts: each announces its instances to the proxies, and a proxy hears of all of them.

An announcement is one UDP datagram, signed:

    SIGNATURE
    bulkhead-1 HOST LIFE NUMBER
    SERVICE NAME ADDRESS WEIGHT STATE BOOT
    ...

The signature is HMAC-SHA256, in hexadecimal digits, of all that follows its line, with the key that
all hosts of a stack have. LIFE is the start of this life of a watchdog, by its host's clock, and
NUMBER counts in it. A proxy that has heard a later announcement ignores an earlier one, so a
recorded one is worth little. The lines are those of nginx's table.
"""

import hashlib
import hmac
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bulkhead.clock import now, pause, wall_ns

VERSION = "bulkhead-1"
EVERY_S = 0.1
# How often names are looked up again: a proxy may have moved, or be one of several now.
LOOK_UP_S = 2.0
ANY_ADDRESS = "0.0.0.0"

SILENT_S = 1.0  # ten announcements in a row
FORGET_S = 60.0
LISTEN_S = 0.3  # three announcements: by then every host that announces has been heard
LONGEST = 65536
BATCH = 256


@dataclass(frozen=True)
class Announcement:
    """All instances of a host, as its watchdog sees them at one moment."""

    host: str
    life: int  # nanoseconds since 1970
    number: int
    lines: tuple[str, ...]


def pack(key: bytes, announcement: Announcement) -> bytes:
    """The datagram."""
    head = f"{VERSION} {announcement.host} {announcement.life} {announcement.number}"
    text = "".join(f"{line}\n" for line in (head, *announcement.lines)).encode()
    return f"{_sign(key, text)}\n".encode() + text


def unpack(key: bytes, datagram: bytes) -> Announcement | None:
    """The announcement; None if it is not signed with the key, or of another version."""
    signature, _, text = datagram.partition(b"\n")
    if not hmac.compare_digest(signature, _sign(key, text).encode()):
        return None
    head, *lines = text.decode().splitlines()
    words = head.split(" ")
    if len(words) != 4 or words[0] != VERSION:
        return None
    return Announcement(words[1], int(words[2]), int(words[3]), tuple(lines))


def _sign(key: bytes, text: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()


class Announcer:
    """Announces this host's instances to the proxies of other hosts, for one life of the watchdog.

    The whole table is sent at once if it differs from the last one, else every `EVERY_S`. So a lost
    datagram does no harm, and silence means that this host cannot be reached. Nothing here waits:
    names are looked up by another thread.
    """

    def __init__(
        self, host: str, places: Sequence[str], key: bytes, complain: Callable[[str], None]
    ) -> None:
        self._host = host
        self._places = places
        self._key = key
        self._complain = complain
        self._life = wall_ns()
        self._number = 0
        self._sent: Sequence[str] = ()
        self._sent_at = 0.0
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._addresses: frozenset[tuple[str, int]] = frozenset()
        threading.Thread(target=self._look_up, name="names", daemon=True).start()

    def announce(self, lines: Sequence[str]) -> None:
        """Announce these lines of nginx's table to every proxy."""
        if lines == self._sent and now() - self._sent_at < EVERY_S:
            return
        self._sent, self._sent_at = lines, now()
        self._number += 1
        addresses = self._addresses
        for address in self._sockets.keys() - addresses:
            self._sockets.pop(address).close()
        for address in addresses:
            self._send(address, lines)

    def close(self) -> None:
        """Close every socket."""
        for sender in self._sockets.values():
            sender.close()
        self._sockets.clear()

    def _send(self, address: tuple[str, int], lines: Sequence[str]) -> None:
        known = self._sockets.get(address)
        sender = known or self._sockets.setdefault(address, _new_socket())
        try:
            if not known:
                sender.connect(address)
            own = sender.getsockname()[0]  # how that proxy reaches this host
            reachable = tuple(line.replace(f" {ANY_ADDRESS}:", f" {own}:") for line in lines)
            announcement = Announcement(self._host, self._life, self._number, reachable)
            sender.send(pack(self._key, announcement))
        except (ConnectionRefusedError, BlockingIOError):
            pass  # a proxy that is not there, or that is behind: it hears the next
        except OSError:
            # No route now, or this host has another address: a connected socket keeps its own.
            self._sockets.pop(address).close()

    def _look_up(self) -> None:
        found: dict[str, set[tuple[str, int]]] = {}
        while True:
            for place in self._places:
                name, _, port = place.rpartition(":")
                try:
                    answers = socket.getaddrinfo(name, int(port), socket.AF_INET, socket.SOCK_DGRAM)
                except (OSError, UnicodeError) as error:
                    # A name server that is away does not mean that the proxy is away.
                    self._complain(f"{place}: {error}")
                else:
                    found[place] = {(str(at[0]), int(at[1])) for *_, at in answers}
            self._addresses = frozenset[tuple[str, int]]().union(*found.values())
            pause(LOOK_UP_S)


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


@dataclass
class Host:
    """Another host; `heard` is when it was heard last, in monotonic seconds."""

    announcement: Announcement
    heard: float
    silent: bool = False


class Hosts:
    """The instances of other hosts, for a proxy.

    A host that has been silent for `SILENT_S` cannot be reached: its instances are down. After
    `FORGET_S` it is forgotten; its next announcement makes it known again.
    """

    def __init__(self, address: str, key: bytes, report: Callable[[str, str], None]) -> None:
        self._key = key
        self._report = report
        self._known: dict[str, Host] = {}
        self._started = now()
        host, _, port = address.rpartition(":")
        self.socket = _new_socket()
        self.socket.bind((host, int(port)))

    def hear(self) -> bool:
        """Take what has arrived; whether nginx's table has changed by it."""
        before = self.lines()
        for _ in range(BATCH):
            try:
                datagram = self.socket.recv(LONGEST)
            except OSError:
                break
            announcement = unpack(self._key, datagram)
            if announcement is not None:
                self._take(announcement)
        return self.lines() != before

    def _take(self, announcement: Announcement) -> None:
        known = self._known.get(announcement.host)
        if known is None:
            self._known[announcement.host] = Host(announcement, now())
            self._report(announcement.host, "heard for the first time")
            return
        before = known.announcement
        if (announcement.life, announcement.number) <= (before.life, before.number):
            return
        if announcement.life != before.life:
            self._report(announcement.host, "another watchdog speaks for it")
        if known.silent:
            self._report(announcement.host, f"heard again after {now() - known.heard:.1f} s")
        known.announcement, known.heard, known.silent = announcement, now(), False

    def turn(self, late_s: float) -> None:
        """Find the silent hosts. `late_s`: the watchdog itself was late by so much."""
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
        """Whether every host that announces has been heard: before, the table is incomplete."""
        return now() - self._started >= LISTEN_S

    def lines(self) -> list[str]:
        """Lines of nginx's table, in the same order on every proxy: two policies depend on it."""
        return [
            _down(line) if host.silent else line
            for _, host in sorted(self._known.items())
            for line in host.announcement.lines
        ]

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _down(line: str) -> str:
    *words, state, boot = line.split(" ")
    return " ".join([*words, "drained" if state == "drained" else "down", boot])


def read_key(path: str | os.PathLike[str]) -> bytes:
    """The key that all hosts of a stack have; ValueError if it is too short."""
    with open(path, "rb") as file:  # noqa: PTH123 - the watchdog starts in a hurry
        key = file.read().strip()
    if len(key) < 32:
        raise ValueError(f"{path}: must hold a key of at least 32 characters")
    return key
