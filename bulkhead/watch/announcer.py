"""Telling the proxies of other hosts which instances this one has, and how they fare.

The whole table, over UDP: at once when it is another one, and again `EVERY_S` later at the latest,
so that one that is lost does no harm and silence means that this host cannot be reached. Nothing
here waits: names are looked up by another thread.
"""

import socket
import threading
from collections.abc import Callable, Sequence

from bulkhead.clock import now, pause, wall_ns
from bulkhead.watch.announcement import Announcement, pack

EVERY_S = 0.1
# How often names are looked up again: a proxy may have moved, or be one of several now.
LOOK_UP_S = 2.0
ANYWHERE = "0.0.0.0"


class Announcer:
    """The sending end, for one life of the watchdog."""

    def __init__(
        self, host: str, places: Sequence[str], key: bytes, complain: Callable[[str], None]
    ) -> None:
        self._host = host
        self._places = places
        self._key = key
        self._complain = complain
        self._life = wall_ns()
        self._number = 0
        self._told: Sequence[str] = ()
        self._told_at = 0.0
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        self._found: frozenset[tuple[str, int]] = frozenset()
        threading.Thread(target=self._look_up, name="names", daemon=True).start()

    def tell(self, lines: Sequence[str]) -> None:
        """Let every proxy have these lines of nginx's table."""
        if lines == self._told and now() - self._told_at < EVERY_S:
            return
        self._told, self._told_at = lines, now()
        self._number += 1
        self._follow()
        for where, one in list(self._sockets.items()):
            self._send(where, one, lines)

    def close(self) -> None:
        """Tell nobody any more."""
        for one in self._sockets.values():
            one.close()
        self._sockets.clear()

    def _send(self, where: tuple[str, int], one: socket.socket, lines: Sequence[str]) -> None:
        try:
            own = one.getsockname()[0]  # how that proxy reaches this host
            reachable = tuple(line.replace(f" {ANYWHERE}:", f" {own}:") for line in lines)
            said = Announcement(self._host, self._life, self._number, reachable)
            one.send(pack(self._key, said))
        except (ConnectionRefusedError, BlockingIOError):
            pass  # a proxy that is not there, or that is behind: it hears the next
        except OSError:
            # This host may have another address now; a connected socket keeps the one it had.
            self._sockets.pop(where).close()

    def _follow(self) -> None:
        """A socket for each address of now, and for no other."""
        found = self._found
        for gone in self._sockets.keys() - found:
            self._sockets.pop(gone).close()
        for new in found - self._sockets.keys():
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                one.connect(new)
            except OSError:  # no way there now; there may be one the next time
                one.close()
            else:
                self._sockets[new] = one

    def _look_up(self) -> None:
        found: dict[str, set[tuple[str, int]]] = {}
        while True:
            for place in self._places:
                name, _, port = place.rpartition(":")
                try:
                    answers = socket.getaddrinfo(name, int(port), socket.AF_INET, socket.SOCK_DGRAM)
                except (OSError, UnicodeError) as error:
                    # A name server that is away does not mean that the proxy is.
                    self._complain(f"{place}: {error}")
                else:
                    found[place] = {(str(where[0]), int(where[1])) for *_, where in answers}
            self._found = frozenset(where for each in found.values() for where in each)
            pause(LOOK_UP_S)
