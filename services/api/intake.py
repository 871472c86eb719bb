"""Between Tornado's connections and its handlers: bodies are bounded, refusals are proper answers.

Tornado by itself answers an over-long body, a bad Host or a bad query with a bare status line and a
closed connection. Here such a request gets a JSON error with identity headers like any other, and
never more of a body than the limit is kept in memory.
"""

import asyncio
import re
from collections.abc import Awaitable

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application

from services.api.errors import (
    ApiError,
    body_too_large,
    media_type_unsupported,
    request_malformed,
    shown,
)
from services.api.handlers.base import BaseHandler
from services.api.service import Service

# A body that is too large is read to its end and thrown away up to here: to close a connection
# with unread bytes resets it, and a client that still sends would lose the answer.
MAX_DISCARDED = 64 * 1024 * 1024
# Tornado would parse forms before any handler runs, on the event loop, and fail in its own words.
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
LENGTH = re.compile(r"[0-9]{1,18}")


class Intake(HTTPServerConnectionDelegate):
    """Receives every request of a server and passes it on to `app`."""

    def __init__(self, app: Application, service: Service) -> None:
        self.app = app
        self.service = service

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """The receiver of the next request on a connection."""
        return Message(self, server_conn, request_conn)


class Message(HTTPMessageDelegate):
    """One request on its way in."""

    def __init__(self, intake: Intake, server_conn: object, request_conn: HTTPConnection) -> None:
        self._intake = intake
        self._connection = request_conn
        self._inner: HTTPMessageDelegate | None = intake.app.start_request(
            server_conn, request_conn
        )
        self._limit = intake.service.settings.max_body_bytes
        self._received = 0
        self._refusal: ApiError | None = None

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """Pass the request on, or decide that it will be refused."""
        assert isinstance(start_line, RequestStartLine)
        self._intake.service.in_flight.add(self._connection)
        self._start_line = start_line
        self._request_id = headers.get("X-Request-ID", "")
        problem = framing_problem(headers)
        if problem:
            # Where this request ends cannot be known, so nothing more can be read from here.
            return self._refuse_now(request_malformed(problem))
        length = int(headers.get("Content-Length", "0"))
        if length > self._limit:
            self._refuse(body_too_large(self._limit))
            if length > MAX_DISCARDED or "Expect" in headers:
                return self._answer_and_close()
            return None
        content_type = headers.get("Content-Type", "")
        if content_type.lower().startswith(FORMS):
            self._refuse(media_type_unsupported(f"Content-Type {shown(content_type)}: no forms."))
            return None
        assert self._inner is not None
        try:
            return self._inner.headers_received(start_line, headers)
        except HTTPInputError as error:
            self._refuse(request_malformed(f"{error}."))
            return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass a piece of the body on, as long as the whole is within the limit."""
        self._received += len(chunk)
        if self._inner is not None and self._received > self._limit:
            self._refuse(body_too_large(self._limit))
        if self._inner is not None:
            return self._inner.data_received(chunk)
        if self._received > MAX_DISCARDED:
            return self._answer_and_close()
        return None

    def finish(self) -> None:
        """The request is complete: execute it, or answer why it is refused."""
        if self._refusal is not None:
            self._answer(self._refusal)
        elif self._inner is not None:
            self._inner.finish()

    def on_connection_close(self) -> None:
        """The client left before the request was complete."""
        self._intake.service.in_flight.discard(self._connection)
        if self._inner is not None:
            self._inner.on_connection_close()

    def _refuse(self, error: ApiError) -> None:
        """Answer with `error` once the body has been read; nothing more of it is kept."""
        self._refusal = error
        if self._inner is not None and self._received:
            self._inner.on_connection_close()
        self._inner = None

    def _refuse_now(self, error: ApiError) -> Awaitable[None]:
        self._refuse(error)
        return self._answer_and_close()

    async def _answer_and_close(self) -> None:
        assert self._refusal is not None
        self._refusal.headers = {**self._refusal.headers, "Connection": "close"}
        # Tornado closes a connection whose request was answered before it was read.
        await self._answer(self._refusal)

    def _answer(self, error: ApiError) -> "asyncio.Future[None]":
        # The refused request may be one that cannot be represented; only its harmless parts are.
        start_line = self._start_line._replace(path=self._start_line.path.partition("?")[0])
        headers = HTTPHeaders({"Host": "refused", "X-Request-ID": self._request_id})
        request = HTTPServerRequest(
            connection=self._connection, start_line=start_line, headers=headers
        )
        answered = asyncio.get_running_loop().create_future()
        kwargs = {"error": error, "answered": answered}
        self._intake.app.get_handler_delegate(request, Refused, kwargs).finish()
        return answered


class Refused(BaseHandler):
    """The answer to a request that is refused before it reaches its resource.

    `answered` is resolved when `error` has been answered.
    """

    def __init__(
        self,
        application: Application,
        request: HTTPServerRequest,
        error: ApiError,
        answered: "asyncio.Future[None]",
    ) -> None:
        self._error = error
        self._answered = answered
        super().__init__(application, request)

    def prepare(self) -> None:
        """Answer.

        Raises:
            ApiError: always.
        """
        raise self._error

    def on_finish(self) -> None:
        """Write the end row and let the connection go on."""
        super().on_finish()
        self._answered.set_result(None)


def framing_problem(headers: HTTPHeaders) -> str | None:
    """What makes it impossible to tell where this request's body ends, if anything does."""
    length = headers.get("Content-Length")
    encoding = headers.get("Transfer-Encoding")
    if length is not None and encoding is not None:
        return "Content-Length and Transfer-Encoding are both given."
    if encoding is not None and encoding.lower() != "chunked":
        return f"Transfer-Encoding {shown(encoding)} is not supported."
    if length is not None and not LENGTH.fullmatch(length):
        return f"Content-Length {shown(length)} is not one number."
    return None
