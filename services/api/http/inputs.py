"""Reading requests: query arguments, idempotency keys, conditions and JSON bodies, all checked."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from tornado.httputil import HTTPHeaders, HTTPServerRequest

from services.api.errors import ApiError, shown
from services.api.ledger import entry
from services.api.ledger.entry import Conditions, Key

# The prefix of the proxy's own keys, which no client may choose.
PROXY_KEY = "proxy:"
KEY_PATTERN = rf"(?!{PROXY_KEY})[A-Za-z0-9._:~+/=@-]{{1,255}}"
KEY = re.compile(KEY_PATTERN)
KEY_FORM = (
    f"1 to 255 of the characters A-Z a-z 0-9 . _ : ~ + / = @ -, and not {PROXY_KEY} at the start"
)
ENTRY_ID = re.compile(entry.ENTRY_ID_PATTERN)
PROXY_REQUEST = re.compile(r"[A-Za-z0-9._-]{1,128}")
PROXY_FORM = "1 to 128 of the characters A-Z a-z 0-9 . _ -"
INTEGER = re.compile(r"-?[0-9]+")
MAX_DIGITS = 20  # more than any limit here needs; int() of a long text takes quadratic time
MAX_BYTES = 16 * 1024 * 1024  # GET /api/v1/work?bytes=
MAX_CALLS = 32  # GET /api/v1/fanout?n=
TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
ONE_TAG = re.compile(rf"\*|{TAG}")
TAGS = re.compile(rf"\*|{TAG}(?:[ \t]*,[ \t]*{TAG})*")
TAGS_FORM = '* or entity tags such as "3", separated by commas'

CONDITIONS = ("If-Match", "If-None-Match")

# A client may come back with its key a day later; a proxy's own retries end within minutes.
CLIENT_KEY_S = 24 * 3600.0
PROXY_KEY_S = 600.0

Body = TypeVar("Body")


class Argument(NamedTuple):
    """A query argument; a text that does not match its schema is wrong as `problem` says."""

    name: str
    description: str
    schema: dict[str, Any]  # as it is in the OpenAPI document
    problem: str = "is not an integer"


def integer(low: int, high: int, **default: int) -> dict[str, Any]:
    """The schema of an integer."""
    return {"type": "integer", "minimum": low, "maximum": high, **default}


def text(pattern: str) -> dict[str, Any]:
    """The schema of a text of this form."""
    return {"type": "string", "pattern": f"^{pattern}$"}


LIMIT = integer(1, entry.MAX_LIMIT, default=entry.DEFAULT_LIMIT)
CURSOR = text(entry.CURSOR_PATTERN)
AMOUNT = integer(-entry.MAX_AMOUNT, entry.MAX_AMOUNT)
FILTERS = (
    Argument("account", "Only this account.", text(entry.ACCOUNT_PATTERN), "is no account name"),
    Argument("min_amount", "Only amounts from here.", AMOUNT),
    Argument("max_amount", "Only amounts up to here.", AMOUNT),
    Argument("limit", "Entries on a page.", LIMIT),
    Argument("cursor", "next_cursor of the page before, unchanged.", CURSOR, "is not one of ours"),
)
FANOUT = (Argument("n", "How many calls.", integer(1, MAX_CALLS, default=1)),)


def work(most_ms: int, most_cpu_ms: int) -> tuple[Argument, ...]:
    """The arguments of work, within the limits of an instance."""
    rows = (
        ("ms", "Milliseconds to wait without blocking.", most_ms),
        ("cpu_ms", "Milliseconds of CPU to burn, blocking.", most_cpu_ms),
        ("bytes", "Bytes to answer with.", MAX_BYTES),
    )
    return tuple(Argument(name, what, integer(0, most, default=0)) for name, what, most in rows)


def read_query(request: HTTPServerRequest, arguments: Sequence[Argument] = ()) -> dict[str, Any]:
    """The query arguments by name; one that is absent is its default, or None.

    ApiError 400 if one is unknown, repeated, not UTF-8 or of another form, 422 if out of range.
    """
    known = {one.name for one in arguments}
    given: dict[str, str] = {}
    for name, values in request.query_arguments.items():
        if name not in known:
            raise _query_malformed(f"Query argument {shown(name)} is unknown.", known)
        if len(values) > 1:
            raise _query_malformed(f"Query argument {name} is given {len(values)} times.", known)
        try:
            given[name] = values[0].decode()
        except UnicodeDecodeError:
            raise _query_malformed(f"Query argument {name} is not UTF-8.", known) from None
    return {one.name: _value(one, given.get(one.name), known) for one in arguments}


def _value(argument: Argument, text: str | None, known: set[str]) -> Any:
    name, _, schema, problem = argument
    if text is None:
        return schema.get("default")
    if schema["type"] == "string":
        if not re.fullmatch(schema["pattern"], text):
            raise _query_malformed(f"{name} = {shown(text)} {problem}.", known)
        return text
    if not INTEGER.fullmatch(text):
        raise _query_malformed(f"{name} = {shown(text)} {problem}.", [name])
    low, high = schema["minimum"], schema["maximum"]
    if len(text) > MAX_DIGITS or not low <= int(text) <= high:
        raise ApiError("out_of_range", name=name, value=text, low=low, high=high)
    return int(text)


def _query_malformed(problem: str, known: Iterable[str]) -> ApiError:
    names = ", ".join(sorted(known))
    allowed = f"Known query arguments: {names}." if names else "This resource takes no arguments."
    return ApiError("query_malformed", problem=problem, allowed=allowed)


def _header(headers: HTTPHeaders, name: str, form: re.Pattern[str], allowed: str) -> str | None:
    value = headers.get(name)
    if value is not None and not form.fullmatch(value):
        raise ApiError("header_malformed", name=name, value=value, allowed=allowed)
    return value


def key_text(headers: HTTPHeaders) -> str | None:
    """The key that makes a write retryable: the client's own, else the proxy's request id.

    nginx gives every attempt of one client request the same X-Proxy-Request, so a write that it
    sends twice is applied once even if the client knows nothing about keys.
    ApiError 400 if the header is malformed.
    """
    key = _header(headers, "Idempotency-Key", KEY, KEY_FORM)
    if key is not None:
        return key
    proxied = _header(headers, "X-Proxy-Request", PROXY_REQUEST, PROXY_FORM)
    return None if proxied is None else PROXY_KEY + proxied


def read_key(request: HTTPServerRequest) -> Key | None:
    """The key of a write, if it has one; raises as `key_text` does."""
    key = key_text(request.headers)
    if key is None:
        return None
    # A line feed occurs in neither method nor path nor header, so no two requests give the same
    # text. One without conditions has the text that it always had: stored keys stay good.
    text = f"{request.method}\n{request.path}\n"
    for name in CONDITIONS:
        text += "".join(f"{name}: {value}\n" for value in request.headers.get_list(name))
    fingerprint = hashlib.sha256(text.encode() + request.body).digest()
    return Key(key, fingerprint, PROXY_KEY_S if key.startswith(PROXY_KEY) else CLIENT_KEY_S)


def read_conditions(headers: HTTPHeaders) -> Conditions:
    """If-Match and If-None-Match; raises an ApiError 400 if one of them is malformed."""
    given = [_header(headers, name, TAGS, TAGS_FORM) for name in CONDITIONS]
    return Conditions(*(one if one is None else frozenset(ONE_TAG.findall(one)) for one in given))


def read_body(request: HTTPServerRequest, decoder: msgspec.json.Decoder[Body]) -> Body:
    """The JSON body.

    ApiError 415 if it is not sent as plain application/json, 400 if it is not JSON, 422 if
    `decoder` does not take it.
    """
    kind = request.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        problem = f"Content-Type {shown(kind)} is not supported."
        raise ApiError("media_type_unsupported", problem=problem)
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        problem = f"Content-Encoding {shown(encoding)} is not supported."
        raise ApiError("media_type_unsupported", problem=problem)
    try:
        return decoder.decode(request.body)
    except msgspec.ValidationError as error:
        raise ApiError("body_invalid", problem=f"{error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError("body_malformed", problem=error) from None
