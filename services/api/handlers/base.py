"""What every answer has in common: identity, rows, JSON errors, HEAD and OPTIONS, being counted."""

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from tornado.concurrent import Future
from tornado.web import HTTPError, RequestHandler

from services.api.errors import (
    ApiError,
    injected_error,
    internal_error,
    method_not_allowed,
    path_not_found,
    request_malformed,
)
from services.api.inputs import KEY
from services.api.service import Service
from services.identity import request_id
from services.rows import Execution

if TYPE_CHECKING:
    from services.faults import Faults

# A row is one write far below a page; the target of a request may be as long as the header limit.
MAX_ROW_TARGET = 1000
MAX_ROW_METHOD = 32
WRITING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class BaseHandler(RequestHandler):
    """A resource of this service. Subclasses define the methods they take and nothing else."""

    # Only executed requests leave rows; the internal endpoints are not part of the load.
    recorded: ClassVar[bool] = True
    _execution: Execution | None = None
    _request_id: str | None = None

    @property
    def service(self) -> Service:
        """The state that all handlers of this process share."""
        service: Service = self.settings["service"]
        return service

    @property
    def request_id(self) -> str:
        """The id of this request: its own when that is well formed, else a new one."""
        if self._request_id is None:
            self._request_id = request_id(self.request.headers.get("X-Request-ID"))
        return self._request_id

    def set_default_headers(self) -> None:
        """Name who answers; Tornado calls this again before it builds an error answer."""
        identity = self.service.identity
        self.set_header("X-Instance", identity.instance)
        self.set_header("X-Boot", identity.boot)
        self.set_header("X-Request-ID", self.request_id)
        self.set_header("Content-Type", "application/json")
        self.clear_header("Server")

    # Tornado calls initialize before anything that may fail and on_finish after every answer.
    # prepare would be too late: a method that Tornado does not know never reaches it.
    def initialize(self) -> None:
        """Write the begin row: nothing has been done for this request yet."""
        self.service.notifier.turn()
        if self.recorded:
            request = self.request
            self._execution = self.service.rows.begin(
                self.request_id,
                (request.method or "")[:MAX_ROW_METHOD],
                (request.uri or "")[:MAX_ROW_TARGET],
                self._row_key(),
            )

    def prepare(self) -> Awaitable[None] | None:
        """Suffer what a drill told this process to do to requests, then check the request."""
        faults = self.service.faults
        if faults is not None and faults.active and self._execution is not None:
            return self._suffer(faults, self._execution)
        self.check()
        return None

    async def _suffer(self, faults: "Faults", execution: Execution) -> None:
        execution.fault = faults.draw()
        if execution.fault == "errors":
            raise injected_error(faults.errors_status)
        if execution.fault == "slow":
            await asyncio.sleep(faults.slow_s)
        self.check()

    def check(self) -> None:
        """What all methods of a resource have in common, checked before any of them runs."""

    def _row_key(self) -> str | None:
        """The key a write is executed under; None when it has none or a malformed one."""
        if self.request.method not in WRITING:
            return None
        key = self.request.headers.get("Idempotency-Key")
        if key is None:
            proxy_request = self.request.headers.get("X-Proxy-Request")
            key = f"proxy:{proxy_request}" if proxy_request else ""
        return key if KEY.fullmatch(key) else None

    def note_effect(self, *, applied: bool, replayed: bool) -> None:
        """Say in the end row what this execution did to the ledger."""
        if self._execution is not None:
            self._execution.effect = "applied" if applied else "replayed" if replayed else "none"

    def on_finish(self) -> None:
        """Write the end row and count the answer."""
        self.service.metrics.count(self.request.method or "", self.get_status())
        if self._execution is not None:
            self.service.rows.end(self._execution, self.get_status())
        self.service.notifier.turn()

    def flush(self, include_footers: bool = False) -> "Future[None]":
        """Send what was written; while draining, tell the client that this connection ends."""
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

    def log_exception(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
            return method_not_allowed(
                self.request.method or "", self.request.path, self.allowed_methods()
            )
        if isinstance(cause, HTTPError) and status == 400:
            return request_malformed(f"{cause.get_message()}.")
        return internal_error(self.request_id)

    @classmethod
    def allowed_methods(cls) -> list[str]:
        """The methods that this resource takes."""
        return [
            method
            for method in cls.SUPPORTED_METHODS
            if getattr(cls, method.lower()) is not RequestHandler._unimplemented_method
        ]

    def options(self, *_path: str) -> None:
        """Say which methods this resource takes."""
        self.set_header("Allow", ", ".join(self.allowed_methods()))
        self.clear_header("Content-Type")
        self.set_status(204)


class NotFound(BaseHandler):
    """Every path that has no resource."""

    def check(self) -> None:
        """Answer 404 to any method.

        Raises:
            ApiError: 404, always.
        """
        raise path_not_found(self.request.path)
