"""Telling nginx which instance to choose: the whole table, over a connection that is kept.

The table is small and says everything, so nginx may lose one, or start anew: the next is a quarter
of a second away. Nothing here ever waits. When nginx is not there, that is tried again with the
next table; when it does not answer, the connection is given up, and the next may meet another
worker.
"""

import re
import selectors
import socket
from collections.abc import Callable, Set
from contextlib import suppress
from pathlib import Path

from bulkhead.clock import now

EVERY_S = 0.25
ANSWER_S = 0.25  # a worker that takes longer is stopped or drowning; there are others
LONGEST = 4096
NOBODY = "nobody\n"  # a table without instances, as render/peers.py has it
TRIES = 16  # connections that may in a row meet a worker of a dead nginx

WORKER = re.compile(rb"^x-boot: (\d+)", re.IGNORECASE | re.MULTILINE)


class Teller:
    """One end of the connection to nginx's internal listener."""

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        complain: Callable[[str], None],
    ) -> None:
        self._path = path
        self._selector = selector
        self._complain = complain
        self._socket: socket.socket | None = None
        self._kept = False  # an answer has come over this connection, so nginx may have closed it
        self._asked: float | None = None  # when the table was sent that is not answered yet
        self._table = b""
        self._workers: Set[int] = frozenset()
        self._strangers = 0  # how many answers in a row came from somebody else
        self._sent = b""
        self._told = b""  # what nginx has taken last
        self._told_at = 0.0

    def tell(self, table: str, workers: Set[int]) -> None:
        """Let nginx have this table: at once when it is another one, else every `EVERY_S`.

        `workers` are the pids of nginx's workers, empty when nobody knows. The workers of a killed
        master may still take connections from the same socket, but what they know helps nobody.
        """
        self._table = table.encode()
        self._workers = workers
        self._strangers = 0
        if self._asked is not None and now() - self._asked > ANSWER_S:
            self._drop()
        if self._asked is None and (self._table != self._told or now() - self._told_at >= EVERY_S):
            self._send()

    def again(self) -> None:
        """Another nginx: it knows nothing yet."""
        self._drop()
        self._told = b""

    def answered(self) -> None:
        """The connection is readable."""
        if self._socket is None:
            return
        try:
            answer = self._socket.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            answer = b""
        if not answer:
            repeat = self._asked is not None and self._kept  # closed while the table was under way
            self._drop()
            if repeat:
                self._send()
            return
        self._asked, self._kept = None, True
        worker = WORKER.search(answer)
        if worker and self._workers and int(worker[1]) not in self._workers:
            self._drop()
            self._strangers += 1
            if self._strangers < TRIES:
                self._send()
            return
        self._take(answer)

    def _take(self, answer: bytes) -> None:
        self._told, self._told_at = self._sent, now()
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 204"):
            status = head.partition(b"\r\n")[0]
            self._complain(f"nginx refuses the table: {status.decode()}: {body.decode().strip()}")
            self._drop()  # the answer may go on
        elif b"connection: close" in head.lower():
            self._drop()
        if self._table != self._told:
            self._send()

    def _send(self) -> None:
        if self._socket is None and not self._connect():
            return
        assert self._socket is not None
        head = f"PUT /peers HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(self._table)}\r\n"
        request = head.encode() + b"Content-Type: text/plain\r\n\r\n" + self._table
        self._sent = self._table
        try:
            whole = self._socket.send(request) == len(request)
        except OSError:
            whole = False
        if whole:
            self._asked = now()
        else:
            self._drop()

    def _connect(self) -> bool:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect(str(self._path))
        except OSError:  # no nginx, or one whose queue is full
            connection.close()
            return False
        self._socket, self._kept = connection, False
        self._selector.register(connection, selectors.EVENT_READ, self.answered)
        return True

    def _drop(self) -> None:
        self._asked = None
        if self._socket is not None:
            with suppress(KeyError):
                self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
