"""The handlers but the ledger's, and their base: identity, rows, JSON errors, HEAD and OPTIONS."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import suppress
from functools import cached_property
from typing import Any, ClassVar, cast

import msgspec
from tornado.concurrent import Future
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from services.api.errors import ApiError
from services.api.http import inputs
from services.api.service import Service
from services.common.identity import request_id, sub_request_id
from services.common.rows import Effect, Execution

WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})

# One write to the socket: a slow client holds this much of a body, not all of it.
CHUNK = bytes(256 * 1024)

# The client queues calls beyond this, and the time in its queue counts to their timeouts.
MAX_CLIENTS = 32 * inputs.MAX_CALLS
CONNECT_TIMEOUT_S = 2.0
REQUEST_TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024


class BaseHandler(RequestHandler):
    """A resource of this service. Subclasses define the methods they take and nothing else."""

    # Only executed requests leave rows; the internal endpoints are not part of the load.
    recorded: ClassVar[bool] = True
    _execution: Execution | None = None

    @property
    def service(self) -> Service:
        """The state that all handlers of this process share."""
        return cast(Service, self.settings["service"])

    @cached_property
    def request_id(self) -> str:
        """The id of this request: its own when that is well formed, else a new one."""
        return request_id(self.request.headers.get("X-Request-ID"))

    def set_default_headers(self) -> None:
        """Name this process; Tornado calls this again before it builds an error answer."""
        for name, value in self.service.identity.headers().items():
            self.set_header(name, value)
        self.set_header("X-Request-ID", self.request_id)
        self.set_header("Content-Type", "application/json")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.clear_header("Server")

    # Tornado calls initialize before anything that may fail and on_finish after every answer.
    # prepare would be too late: a method that Tornado does not know never reaches it.
    def initialize(self) -> None:
        """Write the start row: nothing has been done for this request yet."""
        self.service.notifier.heartbeat_if_due()
        if self.recorded:
            method, target = self.request.method or "", self.request.uri or ""
            key = None
            if method in WRITING:
                with suppress(ApiError):  # the row of a malformed key has none
                    key = inputs.key_text(self.request.headers)
            self._execution = self.service.rows.begin(self.request_id, method, target, key)

    async def prepare(self) -> None:
        """Apply injected faults, then check the request."""
        faults, execution = self.service.faults, self._execution
        if faults is not None and faults.active and execution is not None:
            faults.swallow(self.request.uri or "")
            execution.fault = faults.draw()
            if execution.fault == "errors":
                raise ApiError("injected_error", status=faults.told["errors_status"])
            if execution.fault == "slow":
                await asyncio.sleep(faults.told["slow_ms"] / 1000)
        self.check()

    def check(self) -> None:
        """Check what all methods of a resource have in common, before any of them runs."""

    def note_effect(self, effect: Effect) -> None:
        """Note for the end row what this execution did to the ledger."""
        if self._execution is not None:
            self._execution.effect = effect

    def on_finish(self) -> None:
        status, method = self.get_status(), self.request.method
        # A client may invent any method; it must not be able to make up any number of lines.
        known = method if method in self.SUPPORTED_METHODS else "other"
        self.service.requests[known, status] += 1
        if self._execution is not None:
            self.service.rows.end(self._execution, status)
        self.service.notifier.heartbeat_if_due()

    def flush(self, include_footers: bool = False) -> "Future[None]":
        """Send the written part; while draining, tell the client that this connection ends."""
        if self.service.draining:
            self.set_header("Connection", "close")
        return super().flush(include_footers)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> "Future[None]":
        """End the answer; the request is in flight until the kernel has all of it."""
        sent = super().finish(chunk)
        sent.add_done_callback(self._sent)
        return sent

    def _sent(self, sent: "Future[None]") -> None:
        self.service.in_flight.discard(self.request.connection)
        if not sent.cancelled():
            sent.exception()  # a client that left early is no error; mark the exception as seen

    def compute_etag(self) -> None:
        """No entity tag by content hash: only entries have one, their version."""

    def log_exception(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        """Log a fault of this service with its traceback; a client's fault is in its answer."""
        if not isinstance(error, HTTPError):
            super().log_exception(kind, error, traceback)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with a JSON error; Tornado calls this for every exception of a handler."""
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if not isinstance(error, ApiError):
            error = self._named(status_code, error)
        for name, value in error.headers.items():
            self.set_header(name, value)
        self.finish(error.body())

    def _named(self, status: int, cause: object) -> ApiError:
        """The error that stands for one that Tornado itself raised."""
        if status == 405:
            method, path, allowed = self.request.method, self.request.path, self.allowed_methods()
            self.set_header("Allow", allowed)
            return ApiError("method_not_allowed", method=method, path=path, allowed=allowed)
        if isinstance(cause, HTTPError) and status == 400:
            return ApiError("request_malformed", problem=f"{cause.get_message()}.")
        return ApiError("internal_error", request_id=self.request_id)

    @classmethod
    def allowed_methods(cls) -> str:
        """The methods that this resource takes, as the header Allow names them."""
        return ", ".join(
            method
            for method in cls.SUPPORTED_METHODS
            if getattr(cls, method.lower()) is not RequestHandler._unimplemented_method
        )

    def head(self, *path: str) -> Awaitable[None] | None:
        """Answer as GET does; Tornado sends no body."""
        return self.get(*path)

    def options(self, *_path: str) -> None:
        self.set_header("Allow", self.allowed_methods())
        self.clear_header("Content-Type")
        self.set_status(204)


class NotFound(BaseHandler):
    """Every path that has no resource."""

    def check(self) -> None:
        """Raise an ApiError 404, whatever the method."""
        raise ApiError("path_not_found", path=self.request.path)


class Healthz(BaseHandler):
    """Alive: 200 for as long as the event loop answers."""

    recorded = False

    def get(self) -> None:
        self.answer("alive")

    def answer(self, status: str) -> None:
        """Answer with the identity of this process and its `status`."""
        service = self.service
        self.finish(msgspec.json.encode(service.identity.state(status, service.rows.dropped)))


class Readyz(Healthz):
    """Ready: new work may be sent here."""

    def get(self) -> None:
        """Answer 200, or 503 once this instance has begun to shut down."""
        if self.service.draining:
            self.set_status(503)
        self.answer("draining" if self.service.draining else "ready")


class MetricsPage(BaseHandler):
    """The numbers of this process, in Prometheus' text format."""

    recorded = False

    def get(self) -> None:
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.finish(self.service.metrics())


class WhoamiHandler(BaseHandler):
    """The process that answers, and the id of the request."""

    def get(self) -> None:
        inputs.read_query(self.request)
        process = vars(self.service.identity)
        self.finish(msgspec.json.encode(process | {"request_id": self.request_id}))


class OpenApi(BaseHandler):
    """The description of this API."""

    def get(self) -> None:
        inputs.read_query(self.request)
        # Imported when first asked for: the document costs memory and boot time, and few need it.
        from services.api.http.openapi import document

        limits = self.service.settings
        self.finish(document(limits.max_body_bytes, limits.work_ms, limits.work_cpu_ms))


class Work(BaseHandler):
    """Work of a size that the client chooses, within the limits of the settings."""

    def check(self) -> None:
        """Raise an ApiError 404 where drills are not allowed."""
        if not self.service.settings.work_ms:
            raise ApiError("path_not_found", path=self.request.path)

    async def get(self) -> None:
        """Wait `ms`, burn `cpu_ms` of CPU, answer with `bytes` bytes."""
        limits = self.service.settings
        arguments = inputs.work(limits.work_ms, limits.work_cpu_ms)
        wait_ms, cpu_ms, size = inputs.read_query(self.request, arguments).values()
        if wait_ms:
            await asyncio.sleep(wait_ms / 1000)
        end = time.thread_time() + cpu_ms / 1000
        while time.thread_time() < end:
            pass  # this blocks the event loop, on purpose
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Length", size)
        sent = size if self.request.method == "GET" else 0
        with suppress(StreamClosedError):  # the client has left
            for start in range(0, sent, len(CHUNK)):
                self.write(CHUNK[: sent - start])
                await self.flush()


class Fanout(BaseHandler):
    """Several sub-requests at once, answered as one."""

    async def get(self) -> None:
        """Answer with the process that answered each of `n` calls, or an ApiError 502."""
        (n,) = inputs.read_query(self.request, inputs.FANOUT).values()
        answers = await asyncio.gather(*(self._call(number) for number in range(1, n + 1)))
        causes = Counter(answer for answer in answers if isinstance(answer, str))
        if causes:
            listed = "; ".join(f"{count} x {cause}" for cause, count in causes.items())
            raise ApiError("fanout_incomplete", failed=causes.total(), n=n, causes=listed)
        self.finish(msgspec.json.encode({"n": n, "answers": answers, "failed": 0}))

    async def _call(self, number: int) -> dict[str, object] | str:
        """The process that answered one call, or the reason why no good answer came."""
        # Imported when first needed: instances boot faster, and many never fan out.
        from tornado.httpclient import AsyncHTTPClient

        # There is one client for each event loop; later calls get the one that the first has made.
        client = AsyncHTTPClient(max_clients=MAX_CLIENTS, max_body_size=MAX_ANSWER_BYTES)
        headers = {"X-Request-ID": sub_request_id(self.request_id, number)}
        # By this name the proxy counts how long all of it waits, retries of this request included.
        if parent := self.request.headers.get("X-Proxy-Request"):
            headers["X-Parent-Request"] = parent
        try:
            answer = await client.fetch(
                f"{self.service.settings.proxy_url}/whoami",
                headers=headers,
                connect_timeout=CONNECT_TIMEOUT_S,
                request_timeout=REQUEST_TIMEOUT_S,
                follow_redirects=False,
                raise_error=False,
            )
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if answer.code != 200:
            return f"status {answer.code}"
        instance, boot = answer.headers.get("X-Instance"), answer.headers.get("X-Boot")
        return {"instance": instance, "boot": boot, "status": answer.code}
