"""Between Tornado's connections and its handlers: bounded bodies, and refusals in proper answers.

Tornado by itself answers an over-long body, a bad Host or a bad query with a bare status line and a
closed connection. Here such a request gets a JSON error with identity headers like any other, and
never more of a body than the limit is kept in memory.

A request that Tornado cannot parse, such as one with a control character in a header, reaches no
handler. Its bare status line becomes a proper answer in the stream to the client (NamedStream).
"""

import asyncio
import re
from collections.abc import Awaitable
from typing import Any

from tornado import httputil
from tornado.iostream import IOStream
from tornado.web import Application

from services.api.errors import ApiError, shown
from services.api.http.handlers import BaseHandler
from services.api.service import Service
from services.common.identity import Identity, request_id

# A body that is too large is read to its end and thrown away up to here: to close a connection
# with unread bytes resets it, and a client that still sends would lose the answer.
MAX_DISCARDED = 64 * 1024 * 1024
# Tornado would parse forms before any handler runs, on the event loop, and fail in its own words.
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
LENGTH = re.compile(r"[0-9]{1,18}")
# The answer of tornado.http1connection to every HTTPInputError.
BARE_REFUSAL = b"HTTP/1.1 400 Bad Request\r\n\r\n"
UNPARSED = "The request line or a header has a character or a form that HTTP does not allow."

Delegate = httputil.HTTPMessageDelegate


class Intake(Application):
    """The application, behind a check of every request."""

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> Delegate:
        inner = super().start_request(server_conn, request_conn)
        return RequestIntake(self, inner, request_conn)


class RequestIntake(Delegate):
    """One request on its way in."""

    def __init__(self, app: Intake, inner: Delegate, connection: httputil.HTTPConnection) -> None:
        self._app = app
        self._service: Service = app.settings["service"]
        self._connection = connection
        self._inner: Delegate | None = inner
        self._limit = self._service.settings.max_body_bytes
        self._received = 0
        self._refusal: ApiError | None = None

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        """Pass the request on, or decide that it will be refused."""
        assert isinstance(start_line, httputil.RequestStartLine)
        self._service.in_flight.add(self._connection)
        self._start_line = start_line
        self._request_id = headers.get("X-Request-ID", "")
        if problem := framing_problem(headers):
            # The end of this request is unknown, so nothing more can be read from here.
            self._refuse("request_malformed", problem=problem)
            return self._answer_and_close()
        length = int(headers.get("Content-Length", "0"))
        if length > self._limit:
            self._refuse("body_too_large", limit=self._limit)
            if length > MAX_DISCARDED or "Expect" in headers:
                return self._answer_and_close()
            return None
        content_type = headers.get("Content-Type", "")
        if content_type.lower().startswith(FORMS):
            problem = f"Content-Type {shown(content_type)}: no forms."
            self._refuse("media_type_unsupported", problem=problem)
            return None
        assert self._inner is not None
        try:
            return self._inner.headers_received(start_line, headers)
        except httputil.HTTPInputError as error:
            self._refuse("request_malformed", problem=f"{error}.")
            return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Pass a piece of the body on, as long as the whole is within the limit."""
        self._received += len(chunk)
        if self._inner is not None and self._received > self._limit:
            self._refuse("body_too_large", limit=self._limit)
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
        self._service.in_flight.discard(self._connection)
        if self._inner is not None:
            self._inner.on_connection_close()

    def _refuse(self, code: str, **values: object) -> None:
        """Answer with this error once the body has been read; nothing more of it is kept."""
        self._refusal = ApiError(code, **values)
        if self._inner is not None and self._received:
            self._inner.on_connection_close()
        self._inner = None

    async def _answer_and_close(self) -> None:
        assert self._refusal is not None
        self._refusal.headers["Connection"] = "close"
        # Tornado closes a connection whose request was answered before it was read.
        await self._answer(self._refusal)

    def _answer(self, error: ApiError) -> "asyncio.Future[None]":
        # The refused request may be one that cannot be represented; only its harmless parts are.
        start_line = self._start_line._replace(path=self._start_line.path.partition("?")[0])
        headers = httputil.HTTPHeaders({"Host": "refused", "X-Request-ID": self._request_id})
        request = httputil.HTTPServerRequest(
            connection=self._connection, start_line=start_line, headers=headers
        )
        answered = asyncio.get_running_loop().create_future()
        kwargs = {"error": error, "answered": answered}
        self._app.get_handler_delegate(request, RefusedRequest, kwargs).finish()
        return answered


class RefusedRequest(BaseHandler):
    """The answer to a request that is refused before it reaches its resource."""

    def initialize(  # type: ignore[override]
        self, error: ApiError, answered: "asyncio.Future[None]"
    ) -> None:
        self._error = error
        self._answered = answered
        super().initialize()

    async def prepare(self) -> None:
        """Raise the ApiError, before any injected fault."""
        raise self._error

    def on_finish(self) -> None:
        super().on_finish()
        self._answered.set_result(None)


def framing_problem(headers: httputil.HTTPHeaders) -> str | None:
    """The reason why the end of this request's body is unknown, if there is one."""
    length = headers.get("Content-Length")
    encoding = headers.get("Transfer-Encoding")
    if length is not None and encoding is not None:
        return "Content-Length and Transfer-Encoding are both given."
    if encoding is not None and encoding.lower() != "chunked":
        return f"Transfer-Encoding {shown(encoding)} is not supported."
    if length is not None and not LENGTH.fullmatch(length):
        return f"Content-Length {shown(length)} is not one number."
    return None


class NamedStream:
    """A client's stream on which Tornado's bare refusal becomes a proper answer."""

    def __init__(self, stream: IOStream, identity: Identity) -> None:
        self._stream = stream
        self._identity = identity

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, data: bytes) -> "asyncio.Future[None]":
        """Write `data`; in place of the bare refusal, the answer to an unknown request."""
        if data == BARE_REFUSAL:
            body = ApiError("request_malformed", problem=UNPARSED).body()
            headers = self._identity.headers() | {
                "X-Request-ID": request_id(None),
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "X-Content-Type-Options": "nosniff",
                "Connection": "close",
            }
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            data = f"HTTP/1.1 400 Bad Request\r\n{lines}\r\n".encode() + body
        return self._stream.write(data)
