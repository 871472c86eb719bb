"""A small open-loop load of every kind of request: each is sent once, and each failure is kept.

Some threads keep a connection each, as clients do. A request is due at its time whether the ones
before it are answered or not, as long as a thread is free. A connection that the server has closed
is not used for another request; a request that meets a closing one is a failure like any other.
"""

import json
import secrets
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count

from bulkhead import clock
from bulkhead.testing import wait_until

THREADS = 10
RATE = 100  # a second
ENTRIES = "/api/v1/entries"
DRAFT = json.dumps({"account": "trickle", "amount": 1})
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Sent:
    """One request and what became of it."""

    number: int
    name: str
    status: int  # 0: no whole answer
    error: str
    instance: str
    took_s: float  # from when it was due

    @property
    def failed(self) -> bool:
        """Whether its client did not get what it asked for."""
        return not 200 <= self.status < 300


@dataclass
class Trickle:
    """A load that runs."""

    url: str
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.found_closed = 0  # idle connections that the server had closed without a word
        self.name = f"trickle-{secrets.token_hex(4)}"  # of this load and no other
        self._numbers = count()
        self._began = clock.now()
        self._end = threading.Event()
        self._next = threading.Lock()
        self._threads = [threading.Thread(target=self._client) for _ in range(THREADS)]

    @property
    def failures(self) -> list[Sent]:
        """Those that failed so far."""
        return [one for one in self.sent if one.failed]

    def id(self, number: int) -> str:
        """The id of one request."""
        return f"{self.name}-{number}"

    def start(self) -> None:
        """Begin."""
        for one in self._threads:
            one.start()

    def stop(self) -> None:
        """End, with every answer in."""
        self._end.set()
        for one in self._threads:
            one.join()

    def _client(self) -> None:
        connection = self._connect()
        try:
            while not self._end.is_set():
                with self._next:
                    number = next(self._numbers)
                due = self._began + number / RATE
                if self._end.wait(max(0.0, due - clock.now())):
                    return
                if _closed(connection):
                    self.found_closed += 1
                    connection.close()
                self.sent.append(self._send(connection, number, due))
        finally:
            connection.close()

    def _connect(self) -> HTTPConnection:
        return HTTPConnection(self.url.removeprefix("http://"), timeout=15)

    def _send(self, connection: HTTPConnection, number: int, due: float) -> Sent:
        name, method, target, body, headers = _request(number)
        headers = headers | {"X-Request-ID": self.id(number)}
        if name == "keyed POST":
            headers["Idempotency-Key"] = self.id(number)
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException) as error:
            connection.close()
            return Sent(number, name, 0, repr(error), "", clock.now() - due)
        who = answer.headers.get("X-Instance", "")
        return Sent(number, name, answer.status, "", who, clock.now() - due)


def _request(number: int) -> tuple[str, str, str, str | None, dict[str, str]]:
    return (
        ("keyed POST", "POST", ENTRIES, DRAFT, JSON),
        ("GET", "GET", "/api/v1/whoami", None, {}),
        ("non_retryable POST", "POST", ENTRIES, DRAFT, JSON),
        ("page", "GET", "/about", None, {}),
    )[number % 4]


def _closed(connection: HTTPConnection) -> bool:
    """Whether the server has closed it while it was idle: that can be read, so no client sends."""
    return connection.sock is not None and bool(select.select([connection.sock], [], [], 0)[0])


LEAST = 50  # requests that prove anything


@contextmanager
def trickle(url: str) -> Iterator[Trickle]:
    """A load for as long as the context lasts, and until it was enough of one."""
    made = Trickle(url)
    made.start()
    try:
        yield made
        wait_until(f"{LEAST} requests", lambda: len(made.sent) >= LEAST)
    finally:
        made.stop()
    worst = max(made.sent, key=lambda one: one.took_s)
    print(f"\n{len(made.sent)} requests, {len(made.failures)} failed, slowest {worst}")
