"""Reading requests: query arguments, idempotency keys, conditions and JSON bodies, all checked."""

import hashlib
import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec
from tornado.httputil import HTTPHeaders, HTTPServerRequest

from services.api.errors import (
    body_invalid,
    body_malformed,
    header_malformed,
    media_type_unsupported,
    out_of_range,
    query_malformed,
    shown,
)
from services.api.ledger import Conditions, Key

KEY = re.compile(r"[A-Za-z0-9._:~+/=@-]{1,255}")
PROXY_REQUEST = re.compile(r"[A-Za-z0-9._-]{1,128}")
INTEGER = re.compile(r"-?[0-9]+")
MAX_DIGITS = 20  # more than any limit here needs; int() of a long text takes quadratic time
TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAGS = re.compile(rf"\*|{TAG}(?:[ \t]*,[ \t]*{TAG})*")

# A client may come back with its key a day later; a proxy's own retries end within minutes.
CLIENT_KEY_S = 24 * 3600.0
PROXY_KEY_S = 600.0

Body = TypeVar("Body")


def read_query(request: HTTPServerRequest, known: Iterable[str] = ()) -> dict[str, str]:
    """The query arguments by name.

    Raises:
        ApiError: 400, an argument is not `known`, given twice or not UTF-8.
    """
    known = frozenset(known)
    arguments = {}
    for name, values in request.query_arguments.items():
        if name not in known:
            raise query_malformed(f"Query argument {shown(name)} is unknown.", known)
        if len(values) > 1:
            raise query_malformed(f"Query argument {name} is given {len(values)} times.", known)
        try:
            arguments[name] = values[0].decode()
        except UnicodeDecodeError:
            raise query_malformed(f"Query argument {name} is not UTF-8.", known) from None
    return arguments


def read_integer(arguments: dict[str, str], name: str, low: int, high: int) -> int | None:
    """The integer argument `name`, or None when it is absent.

    Raises:
        ApiError: 400, it is not an integer; 422, it is not in `low`..`high`.
    """
    text = arguments.get(name)
    if text is None:
        return None
    if not INTEGER.fullmatch(text):
        raise query_malformed(f"{name} = {shown(text)} is not an integer.", [name])
    if len(text) > MAX_DIGITS or not low <= int(text) <= high:
        raise out_of_range(f"{name} = {shown(text)} is out of range.", f"{low} to {high}")
    return int(text)


def read_key(request: HTTPServerRequest) -> Key | None:
    """The key that makes this write repeatable: the client's own, else the proxy's request id.

    nginx gives every attempt of one client request the same X-Proxy-Request, so a write that it
    sends twice is applied once even if the client knows nothing about keys.

    Raises:
        ApiError: 400, the header is malformed.
    """
    headers = request.headers
    text = headers.get("Idempotency-Key")
    if text is not None:
        if not KEY.fullmatch(text):
            raise header_malformed(
                "Idempotency-Key", text, "1 to 255 of the characters A-Z a-z 0-9 . _ : ~ + / = @ -"
            )
        return Key(text, _fingerprint(request), CLIENT_KEY_S)
    text = headers.get("X-Proxy-Request")
    if text is None:
        return None
    if not PROXY_REQUEST.fullmatch(text):
        raise header_malformed(
            "X-Proxy-Request", text, "1 to 128 of the characters A-Z a-z 0-9 . _ -"
        )
    return Key(f"proxy:{text}", _fingerprint(request), PROXY_KEY_S)


def _fingerprint(request: HTTPServerRequest) -> bytes:
    # A line feed occurs in neither method nor path, so no two requests give the same text.
    return hashlib.sha256(f"{request.method}\n{request.path}\n".encode() + request.body).digest()


def read_conditions(headers: HTTPHeaders) -> Conditions:
    """If-Match and If-None-Match.

    Raises:
        ApiError: 400, one of them is malformed.
    """
    return Conditions(_tags(headers, "If-Match"), _tags(headers, "If-None-Match"))


def _tags(headers: HTTPHeaders, name: str) -> frozenset[str] | None:
    value = headers.get(name)
    if value is None:
        return None
    if not TAGS.fullmatch(value):
        raise header_malformed(name, value, '* or entity tags such as "3", separated by commas')
    return frozenset(re.findall(rf"\*|{TAG}", value))


def read_body(request: HTTPServerRequest, decoder: msgspec.json.Decoder[Body]) -> Body:
    """The JSON body.

    Raises:
        ApiError: 415, it is not sent as plain application/json; 400, it is not JSON; 422, it is
            not what `decoder` takes.
    """
    content_type = request.headers.get("Content-Type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise media_type_unsupported(f"Content-Type {shown(content_type)} is not supported.")
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise media_type_unsupported(f"Content-Encoding {shown(encoding)} is not supported.")
    try:
        return decoder.decode(request.body)
    except msgspec.ValidationError as error:
        raise body_invalid(f"{error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise body_malformed(f"{error}.") from None
