"""Every error this service answers: a row each, with its status, its message and its advice.

The body is always `{"error_code", "error_msg", "resolution"}`: a name for programs, the problem
with the value that caused it, and the advice.
"""

import string
from typing import Any

import msgspec
from tornado.web import HTTPError

SHOWN_CHARACTERS = 80
# A busy ledger or a full queue clears within a commit or two; a second is ample and simple.
RETRY_AFTER_S = 1
RETRYABLE = {"overloaded", "ledger_busy", "ledger_unreachable", "ledger_in_doubt"}
REPEAT = "Repeat the request after Retry-After seconds."

# Code -> status, message, resolution. In braces are the values that whoever raises the error gives;
# those with !r are shown as `shown` does.
ERRORS: dict[str, tuple[int, str, str]] = {
    "request_malformed": (400, "{problem}", "Send a well-formed HTTP/1.1 request."),
    "query_malformed": (400, "{problem}", "{allowed} Give each at most once."),
    "header_malformed": (400, "{name} = {value!r} is malformed.", "Allowed: {allowed}."),
    "entry_id_malformed": (
        400,
        "Entry id {entry_id!r} is malformed.",
        "Use 1 to 64 of the characters A-Z a-z 0-9 _ -.",
    ),
    "body_malformed": (400, "The body is not JSON: {problem}.", "Send one JSON object."),
    "path_not_found": (404, "Nothing is at {path!r}.", "See /api/v1/openapi.json."),
    "entry_not_found": (
        404,
        "The ledger holds no entry {entry_id!r}.",
        "List the entries with GET /api/v1/entries; PUT creates an entry with an id of your own.",
    ),
    "method_not_allowed": (
        405,
        "{path!r} does not take {method!r}.",
        "Allowed methods: {allowed}.",
    ),
    "entry_exists": (
        409,
        "The ledger already holds entry {entry_id!r}, at version {version}.",
        "Choose another id, leave it out, or replace the entry with PUT.",
    ),
    "precondition_failed": (
        412,
        "{header} does not hold: entry {entry_id!r} {state}.",
        "Read the entry again, decide again, and send its new ETag.",
    ),
    "body_too_large": (
        413,
        "The body is larger than {limit} bytes.",
        "Send at most {limit} bytes; the operator's limit is BULKHEAD_MAX_BODY_KB.",
    ),
    "media_type_unsupported": (
        415,
        "{problem}",
        "Send Content-Type: application/json, not encoded.",
    ),
    "out_of_range": (422, "{name} = {value!r} is out of range.", "Allowed: {low} to {high}."),
    "body_invalid": (422, "{problem}", "See the schemas in /api/v1/openapi.json."),
    "idempotency_key_reused": (
        422,
        "Idempotency-Key {key!r} belongs to another method, path, condition or body.",
        "Use a new key for a new request; repeat a request with exactly the same bytes.",
    ),
    "internal_error": (
        500,
        "The service failed on request {request_id}.",
        "Repeat the request if it is safe to repeat; report the request id if it fails again.",
    ),
    "fanout_incomplete": (
        502,
        "{failed} of {n} calls to the web service failed: {causes}.",
        "Repeat the request; see the state of the web instances.",
    ),
    "overloaded": (
        503,
        "{limit} {kind} are waiting already; this request was not started.",
        REPEAT,
    ),
    "ledger_busy": (
        503,
        "The ledger stayed locked by another process for {waited_s:g} s; nothing was written.",
        REPEAT,
    ),
    "ledger_unreachable": (
        503,
        "The ledger's server could not be reached for {waited_s:g} s; nothing was written.",
        REPEAT,
    ),
    "ledger_in_doubt": (
        504,
        "The ledger's server was lost while it committed; the write may have been done or not.",
        "Repeat the request with the same Idempotency-Key; without one, look before you repeat it.",
    ),
    # An error that a drill injects; it says with which status.
    "injected_error": (
        0,
        "A drill told this instance to answer {status}; this request was not executed.",
        "Repeat the request, or end the drill.",
    ),
}


class ApiError(HTTPError):
    """An error answer; raised anywhere in a handler it ends the request."""

    def __init__(self, code: str, **values: Any) -> None:
        status, message, resolution = ERRORS[code]
        super().__init__(status or values["status"])
        self.code = code
        self.message = _TEXTS.vformat(message, (), values)
        self.resolution = _TEXTS.vformat(resolution, (), values)
        self.headers = {"Retry-After": str(RETRY_AFTER_S)} if code in RETRYABLE else {}

    def body(self) -> bytes:
        """The JSON body of the answer."""
        return msgspec.json.encode(
            {"error_code": self.code, "error_msg": self.message, "resolution": self.resolution}
        )


class _Texts(string.Formatter):
    def convert_field(self, value: Any, conversion: str | None) -> Any:
        return shown(value) if conversion == "r" else super().convert_field(value, conversion)


_TEXTS = _Texts()


def shown(value: object) -> str:
    """`value` as an error message shows it: quoted, and cut when it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
