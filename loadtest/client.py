"""The HTTP client of one user: each request goes out exactly once and leaves exactly one row.

What it adds to a Connection: the request's id, the cookies, the client row, and Locust's request
event. What was expected of the answer is said with the request, so that Locust's own figures count
an unexpected status or wrong content as failed.
"""

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
from gevent import GreenletExit

from bulkhead.records import ClientRow, Error
from loadtest.mix import JSON, Effect
from loadtest.recorder import Recorder
from loadtest.wire import Answer, Connection, NoAnswerError

Check = Callable[[Answer], str]


class UnexpectedError(Exception):
    """What Locust is told about a request that did not go as expected."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request and what is expected of its answer.

    `name` groups targets in every table (`/api/v1/entries/{id}`). `body` is sent as JSON. A write
    (`effect` other than read) carries a key of its own. `check` says what is wrong with an answer
    of an expected status, or "".
    """

    method: str
    target: str
    name: str = ""
    body: Mapping[str, object] | None = None
    accept: str = JSON
    effect: Effect = "read"
    entry: str = ""
    expect: Collection[int] = (200,)
    check: Check | None = None


@dataclass
class Outcome:
    """How a request ended: `error` is "" when a whole answer came, `wrong` when it was right."""

    answer: Answer
    error: Error
    wrong: str = ""


class Client:
    """Sends requests one after another over one kept-alive connection, with cookies.

    `request_event` is Locust's, `recorder` writes the rows. The ids that it makes are unique: a
    random token for the client, then a number.
    """

    def __init__(
        self, base_url: str, connection: Connection, recorder: Recorder, request_event: Any
    ) -> None:
        self.cookies: dict[str, str] = {}
        self.token = uuid.uuid4().hex[:16]
        self._base_url = base_url.rstrip("/")
        self._host = urlsplit(base_url).netloc
        self._connection = connection
        self._recorder = recorder
        self._request_event = request_event
        self._count = 0

    def send(self, request: Request) -> Outcome:
        """Send it, once; write its row; tell Locust.

        Without a whole answer the outcome's status is 0 and nothing is known about a write. A stop
        of the load test ends the exchange with GreenletExit: the row then says `stopped`, and
        Locust, by its own rules, hears nothing of the request. Once a test is stopping no request
        is begun: the user ends here, without a row, for nothing was sent.
        """
        if self._recorder.stopping:
            raise GreenletExit
        self._count += 1
        request_id = f"{self.token}-{self._count}"
        key = f"key-{request_id}" if request.effect != "read" else ""
        text = self._bytes(request, request_id, key)
        outcome = Outcome(Answer(request.method), "stopped")
        self._recorder.begin()
        started = time.time()
        sent = time.monotonic()
        try:
            self._connection.exchange(text, outcome.answer)
            outcome.error, outcome.wrong = "", _judge(request, outcome.answer)
        except NoAnswerError as error:
            outcome.error, outcome.wrong = error.error, f"no answer: {error}"
        except GreenletExit:
            raise
        except BaseException:
            outcome.error = "other"
            raise
        finally:
            done = time.monotonic()
            self._recorder.write(_row(request, request_id, key, sent, done, outcome))
        if not outcome.error:
            self._store_cookies(outcome.answer)
        self._tell_locust(request, outcome, started, done - sent)
        return outcome

    def close(self) -> None:
        """Close the idle connection."""
        self._connection.close()

    def _bytes(self, request: Request, request_id: str, key: str) -> bytes:
        lines = [
            f"{request.method} {request.target} HTTP/1.1",
            f"Host: {self._host}",
            "User-Agent: bulkhead-loadtest",
            f"Accept: {request.accept}",
            f"X-Request-ID: {request_id}",
        ]
        if key:
            lines.append(f"Idempotency-Key: {key}")
        if self.cookies:
            lines.append("Cookie: " + "; ".join(f"{k}={v}" for k, v in self.cookies.items()))
        body = b""
        if request.body is not None:
            body = msgspec.json.encode(request.body)
            lines += [f"Content-Type: {JSON}", f"Content-Length: {len(body)}"]
        return "\r\n".join((*lines, "", "")).encode("latin-1") + body

    def _store_cookies(self, answer: Answer) -> None:
        """Keep what was set. One host, all paths: enough for a user of one stack."""
        for line in answer.header_lines("set-cookie"):
            pair, *attributes = line.split(";")
            name, _, value = pair.strip().partition("=")
            expired = any(text.strip().lower() == "max-age=0" for text in attributes)
            if expired or not value:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    def _tell_locust(
        self, request: Request, outcome: Outcome, started: float, took_s: float
    ) -> None:
        self._request_event.fire(
            request_type=request.method,
            name=_name(request),
            response_time=took_s * 1000,
            response_length=len(outcome.answer.body),
            response=outcome.answer,
            exception=UnexpectedError(outcome.wrong) if outcome.wrong else None,
            context={},
            start_time=started,
            url=self._base_url + request.target,
        )


def _judge(request: Request, answer: Answer) -> str:
    """What is wrong with a whole answer, or ""."""
    if answer.status_code not in request.expect:
        expected = " or ".join(map(str, request.expect))
        return f"status {answer.status_code}, expected {expected}"
    if request.check is None:
        return ""
    try:
        return request.check(answer)
    except msgspec.DecodeError as error:
        return f"unreadable content: {type(error).__name__}"


def _row(
    request: Request, request_id: str, key: str, sent: float, done: float, outcome: Outcome
) -> ClientRow:
    answer = outcome.answer
    entry = request.entry
    if request.effect == "create" and not outcome.error:
        entry = answer.header("location").rpartition("/")[2]
    return ClientRow(
        id=request_id,
        name=f"{request.method} {_name(request)}",
        method=request.method,
        target=request.target,
        planned=sent,  # a closed-loop user plans nothing: it is ready, so it sends
        sent=sent,
        done=done,
        status=0 if outcome.error else answer.status_code,
        error=outcome.error,
        wrong="" if outcome.error else outcome.wrong,
        key=key,
        instance=answer.header("x-instance"),
        boot=answer.header("x-boot"),
        bytes=len(answer.body),
        effect=request.effect,
        entry=entry,
        replayed=answer.header("idempotent-replayed") == "true",
    )


def _name(request: Request) -> str:
    return request.name or request.target.partition("?")[0]
