"""Every error this service answers: one named function each, with its status and its advice.

The body is always `{"error_code", "error_msg", "resolution"}`: a name for programs, what went wrong
with the value that did it, and what to do about it.
"""

from collections.abc import Iterable, Mapping

import msgspec
from tornado.web import HTTPError

# A busy ledger or a full queue clears within a commit or two; a second is ample and simple.
RETRY_AFTER_S = 1
SHOWN_CHARACTERS = 80


class ApiError(HTTPError):
    """An error answer; raised anywhere in a handler it ends the request."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        resolution: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status)
        self.code = code
        self.message = message
        self.resolution = resolution
        self.headers = headers or {}

    def body(self) -> bytes:
        """The JSON body of the answer."""
        return msgspec.json.encode(
            {"error_code": self.code, "error_msg": self.message, "resolution": self.resolution}
        )


def shown(value: object) -> str:
    """`value` as an error message shows it: quoted, and cut when it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def request_malformed(what: str) -> ApiError:
    """400: the request breaks HTTP's own rules."""
    return ApiError(400, "request_malformed", what, "Send a well-formed HTTP/1.1 request.")


def query_malformed(what: str, known: Iterable[str]) -> ApiError:
    """400: a query argument is unknown, repeated or not of its type."""
    names = ", ".join(sorted(known))
    allowed = f"Known query arguments: {names}." if names else "This resource takes no arguments."
    return ApiError(400, "query_malformed", what, f"{allowed} Give each at most once.")


def header_malformed(name: str, value: str, allowed: str) -> ApiError:
    """400: a request header has the wrong form."""
    return ApiError(
        400, "header_malformed", f"{name} = {shown(value)} is malformed.", f"Allowed: {allowed}."
    )


def entry_id_malformed(entry_id: str) -> ApiError:
    """400: the path names no possible entry."""
    return ApiError(
        400,
        "entry_id_malformed",
        f"Entry id {shown(entry_id)} is malformed.",
        "Use 1 to 64 of the characters A-Z a-z 0-9 _ -.",
    )


def body_malformed(what: str) -> ApiError:
    """400: the body is not JSON."""
    return ApiError(400, "body_malformed", f"The body is not JSON: {what}", "Send one JSON object.")


def path_not_found(path: str) -> ApiError:
    """404: no such resource."""
    return ApiError(
        404, "path_not_found", f"Nothing is at {shown(path)}.", "See /api/v1/openapi.json."
    )


def entry_not_found(entry_id: str) -> ApiError:
    """404: the ledger holds no such entry."""
    return ApiError(
        404,
        "entry_not_found",
        f"The ledger holds no entry {shown(entry_id)}.",
        "List the entries with GET /api/v1/entries; PUT creates an entry with an id of your own.",
    )


def entry_exists(entry_id: str, version: int) -> ApiError:
    """409: a POST chose the id of an entry that is there."""
    return ApiError(
        409,
        "entry_exists",
        f"The ledger already holds entry {shown(entry_id)}, at version {version}.",
        "Choose another id, leave it out, or replace the entry with PUT.",
    )


def method_not_allowed(method: str, path: str, allowed: Iterable[str]) -> ApiError:
    """405: the resource exists, the method does not."""
    names = ", ".join(allowed)
    return ApiError(
        405,
        "method_not_allowed",
        f"{shown(path)} does not take {shown(method)}.",
        f"Allowed methods: {names}.",
        {"Allow": names},
    )


def precondition_failed(header: str, entry_id: str, version: int | None) -> ApiError:
    """412: the entry is not in the state that the request requires."""
    state = "does not exist" if version is None else f"has version {version}"
    return ApiError(
        412,
        "precondition_failed",
        f"{header} does not hold: entry {shown(entry_id)} {state}.",
        "Read the entry again, decide again, and send its new ETag.",
    )


def body_too_large(limit: int) -> ApiError:
    """413: the body is larger than this instance takes."""
    return ApiError(
        413,
        "body_too_large",
        f"The body is larger than {limit} bytes.",
        f"Send at most {limit} bytes; the operator's limit is BULKHEAD_MAX_BODY_KB.",
    )


def media_type_unsupported(what: str) -> ApiError:
    """415: the body is not sent as plain application/json."""
    return ApiError(
        415, "media_type_unsupported", what, "Send Content-Type: application/json, not encoded."
    )


def out_of_range(what: str, allowed: str) -> ApiError:
    """422: a well-formed value lies outside its limits."""
    return ApiError(422, "out_of_range", what, f"Allowed: {allowed}.")


def body_invalid(what: str) -> ApiError:
    """422: the body is JSON and breaks a rule of its schema."""
    return ApiError(422, "body_invalid", what, "See the schemas in /api/v1/openapi.json.")


def key_reused(key: str) -> ApiError:
    """422: the idempotency key belongs to a different request."""
    return ApiError(
        422,
        "idempotency_key_reused",
        f"Idempotency-Key {shown(key)} was first used with another method, path or body.",
        "Use a new key for a new request; repeat a request with exactly the same bytes.",
    )


def internal_error(request_id: str) -> ApiError:
    """500: a fault of this service; the log has the traceback."""
    return ApiError(
        500,
        "internal_error",
        f"The service failed on request {request_id}.",
        "Repeat the request if it is safe to repeat; report the request id if it fails again.",
    )


def fanout_incomplete(failed: int, n: int, causes: Iterable[str]) -> ApiError:
    """502: some of the calls to the web service brought no good answer."""
    return ApiError(
        502,
        "fanout_incomplete",
        f"{failed} of {n} calls to the web service failed: {'; '.join(causes)}.",
        "Repeat the request; see the state of the web instances.",
    )


def injected_error(status: int) -> ApiError:
    """What a drill told this process to answer instead of executing a request."""
    return ApiError(
        status,
        "injected_error",
        f"A drill told this instance to answer {status}; this request was not executed.",
        "Repeat the request, or end the drill.",
    )


def overloaded(what: str, limit: int) -> ApiError:
    """503: this instance's queue is full; nothing was done."""
    return ApiError(
        503,
        "overloaded",
        f"{limit} {what} are waiting already; this request was not started.",
        "Repeat the request after Retry-After seconds.",
        {"Retry-After": str(RETRY_AFTER_S)},
    )


def ledger_busy(waited_s: float) -> ApiError:
    """503: another process held the ledger's write lock; nothing was done."""
    return ApiError(
        503,
        "ledger_busy",
        f"The ledger stayed locked by another process for {waited_s:g} s; nothing was written.",
        "Repeat the request after Retry-After seconds.",
        {"Retry-After": str(RETRY_AFTER_S)},
    )


def ledger_unreachable(waited_s: float) -> ApiError:
    """503: the ledger's server did not answer; nothing was done."""
    return ApiError(
        503,
        "ledger_unreachable",
        f"The ledger's server could not be reached for {waited_s:g} s; nothing was written.",
        "Repeat the request after Retry-After seconds.",
        {"Retry-After": str(RETRY_AFTER_S)},
    )


def ledger_in_doubt() -> ApiError:
    """504: the ledger's server was lost while it committed; it may have been done or not."""
    return ApiError(
        504,
        "ledger_in_doubt",
        "The ledger's server was lost while it committed; the write may have been done or not.",
        "Repeat the request with the same Idempotency-Key; without one, look before you repeat it.",
        {"Retry-After": str(RETRY_AFTER_S)},
    )
