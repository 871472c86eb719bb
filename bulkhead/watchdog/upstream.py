"""nginx, seen by the watchdog: it is told which instances to choose, and asked if it still accepts.

The publisher sends the whole table of instances over a connection that is kept. It never waits: if
nginx is away, the next table is the next attempt; if it does not answer, the connection is given
up, and the next one may reach another worker.

The probe is a client of the public listener, in a thread that may wait. A worker of nginx that has
no connection free closes what it accepts, and reports that only in its log: its event loop turns,
and requests on open connections go on. Only a new client notices.
"""

import errno
import re
import selectors
import socket
import threading
from collections.abc import Callable, Set
from contextlib import suppress
from pathlib import Path

from bulkhead.atomic import close_to_others
from bulkhead.clock import now

EVERY_S = 0.25
ANSWER_S = 0.25  # a worker that takes longer is stopped or overloaded; there are others
LONGEST = 4096
NOBODY = "nobody\n"  # a table without instances, as peer_table.py has it
TRIES = 16  # connections in a row that may reach a worker of a dead nginx

PROBE_TARGET = "/.well-known/proxy-alive"  # nginx/public.conf.j2: nginx answers itself, with no row
PROBE = f"GET {PROBE_TARGET} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
PROBE_EVERY_S = 1.0
PROBE_ANSWER_S = 2.0
# A shortage of the watchdog's own says nothing about nginx.
OWN_LACK = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL)
PROBE_PATIENCE_S = 8.0  # without an answer: long enough for any burst to be over

WORKER = re.compile(rb"^x-boot: (\d+)", re.IGNORECASE | re.MULTILINE)


class Publisher:
    """The connection to nginx's internal listener."""

    def __init__(
        self, path: Path, selector: selectors.BaseSelector, complain: Callable[[str], None]
    ) -> None:
        self._path = path
        self._selector = selector
        self._complain = complain
        self._socket: socket.socket | None = None
        self._kept = False  # it has had an answer, so nginx may have closed it
        self._sent_at: float | None = None  # when the table was sent that is not answered yet
        self._table = b""
        self._workers: Set[int] = frozenset()
        self._strangers = 0  # so many answers in a row came from workers of a dead nginx
        self._sent = b""
        self._taken = b""  # the table that nginx has taken last
        self._taken_at = 0.0

    def publish(self, table: str, workers: Set[int]) -> None:
        """Send this table: at once if it differs from the last one, else every `EVERY_S`.

        `workers` are the pids of nginx's workers, empty if unknown. The workers of a killed master
        still take connections from the same socket, but must not be the only ones to be told.
        """
        self._table = table.encode()
        self._workers = workers
        self._strangers = 0
        if self._sent_at is not None and now() - self._sent_at > ANSWER_S:
            self._drop()
        due = self._table != self._taken or now() - self._taken_at >= EVERY_S
        if due and self._sent_at is None:
            self._send()

    def restart(self) -> None:
        """Another nginx has started: it knows nothing, and its socket is open to everybody."""
        close_to_others(self._path)
        self._drop()
        self._taken = b""

    def on_readable(self) -> None:
        """An answer has come, or the end of the connection."""
        if self._socket is None:
            return
        try:
            answer = self._socket.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        if not answer:
            # nginx may close a kept connection while a table is under way.
            repeat = self._sent_at is not None and self._kept
            self._drop()
            if repeat:
                self._send()
            return
        self._sent_at, self._kept = None, True
        worker = WORKER.search(answer)
        if worker and self._workers and int(worker[1]) not in self._workers:
            self._drop()
            self._strangers += 1
            if self._strangers < TRIES:
                self._send()
            return
        self._on_answer(answer)

    def _on_answer(self, answer: bytes) -> None:
        self._taken, self._taken_at = self._sent, now()
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 204"):
            status = head.partition(b"\r\n")[0]
            self._complain(f"nginx refuses the table: {status.decode()}: {body.decode().strip()}")
            self._drop()  # the answer may go on
        elif b"connection: close" in head.lower():
            self._drop()
        if self._table != self._taken:
            self._send()

    def _send(self) -> None:
        head = f"PUT /peers HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(self._table)}\r\n"
        request = head.encode() + b"Content-Type: text/plain\r\n\r\n" + self._table
        self._sent, self._sent_at = self._table, now()
        try:
            if self._socket is None:
                self._kept = False
                kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
                self._socket = socket.socket(socket.AF_UNIX, kind)
                self._socket.connect(str(self._path))
                self._selector.register(self._socket, selectors.EVENT_READ, self.on_readable)
            whole = self._socket.send(request) == len(request)
        except OSError:  # no nginx, or one whose queue is full
            whole = False
        if not whole:
            self._drop()

    def _drop(self) -> None:
        self._sent_at = None
        if self._socket is not None:
            with suppress(KeyError):
                self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


class Probe:
    """One request after another, each over a new connection, by a thread that may wait."""

    def __init__(self) -> None:
        self._due = 0.0
        self._under_way = False
        self._answered = now()

    def look(self, address: str) -> float:
        """Go on probing; for how many seconds nginx at `address` has not answered."""
        if now() >= self._due and not self._under_way:
            self._due, self._under_way = now() + PROBE_EVERY_S, True
            try:
                threading.Thread(target=self._ask, args=(address,), daemon=True).start()
            except RuntimeError:  # there may be no more threads: that tells nothing of nginx
                self._under_way = False
                self.restart()
                raise
        return now() - self._answered

    def restart(self) -> None:
        """Count from now: another nginx, or a moment in which none could have answered."""
        self._answered = now()

    def forgive(self, late_s: float) -> None:
        """The watchdog itself was late by so much."""
        self._answered += late_s

    def _ask(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            place = (host.strip("[]"), int(port))
            with socket.create_connection(place, PROBE_ANSWER_S) as connection:
                connection.sendall(PROBE)
                if connection.recv(LONGEST).startswith(b"HTTP/1.1 "):
                    self._answered = now()
        except OSError as error:  # refused or reset: no answer
            if error.errno in OWN_LACK:
                self.restart()
        finally:
            self._under_way = False
