"""The HTTP client of one user: each request goes out exactly once and leaves exactly one row.

It adds to a Channel: waiting for the answer, the request's id, cookies, the client row, and
Locust's request event, which counts an unexpected status or wrong content as failed.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import gevent
import msgspec
from gevent import GreenletExit
from gevent.hub import Waiter
from locust.runners import STATE_RUNNING, STATE_SPAWNING

from bulkhead.records import ClientRow, Error
from loadtest.answer import Answer, parsed
from loadtest.channel import Channel, resolve
from loadtest.requests import Kind, Request, body_problem, shown, text
from loadtest.rows import Recorder
from loadtest.settings import address
from loadtest.system import shortage

# Says what is wrong with an answer of the expected status, or "".
Check = Callable[[Answer], str]

_NO_ANSWER: dict[Error, str] = {
    "refused": "no one listens there",
    "reset": "the peer reset the connection",
    "closed": "the peer closed before the whole answer",
    "timeout": "no whole answer in time",
    "other": "not HTTP, more than one answer, or another error of the system",
}


class UnexpectedError(Exception):
    """The exception in Locust's event of a request that did not go as expected."""


@dataclass
class Outcome:
    """How a request ended; `short` says what the load generator has run out of meanwhile."""

    answer: Answer
    error: Error
    wrong: str = ""
    short: str = ""


class Client:
    """Sends requests one after another over one kept-alive connection, with cookies.

    The `environment` is Locust's, with a recorder for the rows. `connect_timeout_s` bounds the
    opening of a connection, `request_timeout_s` the whole exchange from the call to the last byte
    of the answer (the system's own name look-up excepted).
    ValueError if the `base_url` is none; the message says what it must be.
    """

    def __init__(
        self, base_url: str, environment: Any, connect_timeout_s: float, request_timeout_s: float
    ) -> None:
        self.cookies: dict[str, str] = {}
        self.token = uuid.uuid4().hex[:16]
        self._base_url = base_url.rstrip("/")
        self._host = urlsplit(base_url).netloc
        self._environment = environment
        self._recorder: Recorder = environment.recorder
        self._limits_s = (connect_timeout_s, max(0.0, request_timeout_s - connect_timeout_s))
        self._waiter: Waiter[Error] = Waiter()
        self._channel = Channel(
            partial(resolve, *address(base_url)),
            lambda _channel, _request, error, _reply: self._waiter.switch(error),
            self._waiter.throw,
        )
        self._count = 0

    def send(
        self,
        kind: Kind,
        entry: str = "",
        body: Mapping[str, object] | None = None,
        check: Check | None = None,
    ) -> Outcome:
        """Send a request, once; write its row; tell Locust.

        A stop of the test ends the exchange with GreenletExit: the row then says `stopped`, and
        Locust, by its own rules, hears nothing of it. Once a test is stopping no request is begun:
        the user ends here, without a row.
        """
        # Locust kills a waiting user a little after it has decided to: meanwhile it may wake up.
        if self._environment.runner.state not in (STATE_SPAWNING, STATE_RUNNING):
            raise GreenletExit
        self._count += 1
        amount: Any = (body or {}).get("amount", 0)
        request = Request(kind, f"{self.token}-{self._count}", amount, 0.0, entry)
        request.target = kind.target(entry)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        content = msgspec.json.encode(body).decode("latin-1") if body is not None else ""
        line = text(kind, self._host, request.target, request.id, request.key, content, cookie)
        outcome = Outcome(Answer(kind.method), "stopped")
        self._recorder.begin()
        started = time.time()
        # A closed-loop user plans nothing: it is ready, so it sends.
        request.planned = request.sent = time.monotonic()
        try:
            self._exchange(request, line.encode("latin-1"), outcome)
            outcome.wrong = _judge(kind, outcome, check)
        except GreenletExit:
            raise
        except BaseException:
            outcome.error = "other"
            raise
        finally:
            done = time.monotonic()
            self._recorder.add(_row(request, done, outcome))
            self._recorder.flush()
        if not outcome.error:
            self._store_cookies(outcome.answer)
        if outcome.error != "stopped":
            self._tell_locust(request, outcome, started, done)
        return outcome

    def close(self) -> None:
        """Close the idle connection."""
        self._channel.close()

    def _exchange(self, request: Request, line: bytes, outcome: Outcome) -> None:
        """Send the bytes of a request once, and wait for its end."""
        channel = self._channel
        self._waiter.clear()
        try:
            channel.begin(request, line, outcome.answer)
            for limit_s in self._limits_s:
                ended = gevent.with_timeout(limit_s, self._waiter.get, timeout_value=None)
                if ended is not None or channel.connecting:
                    break
            outcome.error = "timeout" if ended is None else ended
        except OSError as error:
            if not (short := shortage(error)):
                raise
            outcome.error, outcome.short = "unsent" if channel.connecting else "stopped", short
        finally:
            if channel.request is not None:
                channel.give_up("stopped")

    def _store_cookies(self, answer: Answer) -> None:
        """Keep the cookies that were set. One host, all paths: enough for a user of one stack."""
        lines = answer.get("set-cookie") or []
        for line in [lines] if isinstance(lines, str) else lines:
            for name, cookie in SimpleCookie(line).items():
                if cookie["max-age"] == "0" or not cookie.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = cookie.coded_value

    def _tell_locust(self, request: Request, outcome: Outcome, started: float, done: float) -> None:
        self._environment.events.request.fire(
            request_type=request.kind.method,
            name=request.kind.place,
            response_time=(done - request.planned) * 1000,
            response_length=len(outcome.answer.body),
            response=outcome.answer,
            exception=UnexpectedError(outcome.wrong) if outcome.wrong else None,
            context={},
            start_time=started,
            url=self._base_url + request.target,
        )


def _judge(kind: Kind, outcome: Outcome, check: Check | None) -> str:
    """The defect, or ""."""
    if outcome.error:
        return f"no answer: {outcome.error}: {outcome.short or _NO_ANSWER[outcome.error]}"
    if outcome.answer.status_code != kind.expect:
        return f"status {outcome.answer.status_code}, expected {kind.expect}"
    try:
        if check:
            return check(outcome.answer)
        return body_problem(kind.content, outcome.answer.body)
    except msgspec.DecodeError as error:
        return f"unreadable content: {type(error).__name__}"


def _row(request: Request, done: float, outcome: Outcome) -> ClientRow:
    answer, error = outcome.answer, outcome.error
    if request.kind.effect == "create" and not error:
        request.entry = answer.header("location").rpartition("/")[2]
    if not error and 200 <= answer.status_code < 300:
        with suppress(msgspec.DecodeError):  # then `wrong` tells of it
            entries = shown(request.kind, answer.body)
            request.found = [entry.found for entry in entries] if entries is not None else None
    if error == "unsent":
        request.sent = 0
    return request.row(done, error, outcome.short if error else outcome.wrong, parsed(answer))
