"""Requests of one kind: their octets, all but a few of them made in advance, and their checks."""

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from loadtest.mix import JSON, Content, Kind
from loadtest.reply import Reply

# Each write sets an amount that no other request of the load sets: the number of its arrival on top
# of this, so that all amounts have as many digits and all bodies of a kind the same length.
FIRST_AMOUNT = 1_000_000_000


class Stencil:
    """Makes the requests of `kind` to `host`."""

    def __init__(self, kind: Kind, host: str) -> None:
        self.kind = kind
        self._before, self._pattern, self._after = kind.place.partition("{id}")
        self._after += kind.query
        self._start = f"{kind.method} "
        self._middle = (
            f" HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bulkhead-loadtest\r\n"
            f"Accept: {kind.accept}\r\nX-Request-ID: "
        )
        self._key_line = "\r\nIdempotency-Key: " if kind.keyed else ""
        self._rest, self._end = "\r\n\r\n", ""
        if kind.members is not None:
            body = msgspec.json.encode({**kind.members, "amount": FIRST_AMOUNT}).decode()
            self._rest = f"\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
            self._rest += body.removesuffix(f"{FIRST_AMOUNT}}}")
            self._end = "}"

    def key(self, request_id: str) -> str:
        """The idempotency key of a request, "" when this kind carries none."""
        return f"key-{request_id}" if self.kind.keyed else ""

    def target(self, entry: str) -> str:
        """The target of a request about `entry`; without one, the pattern of such targets."""
        return f"{self._before}{entry or self._pattern}{self._after}"

    def text(self, request: "Request") -> bytes:
        """The octets of a request of this kind."""
        text = (
            f"{self._start}{request.target}{self._middle}{request.id}"
            f"{self._key_line}{request.key}{self._rest}"
        )
        if self._end:
            text = f"{text}{request.amount}{self._end}"
        return text.encode("ascii")


class Request(msgspec.Struct, gc=False):
    """One arrival of the schedule. `sent` is 0 until it is sent; `entry` is "" while not known."""

    stencil: Stencil
    number: int
    id: str
    key: str
    planned: float
    entry: str = ""
    target: str = ""
    sent: float = 0.0

    @property
    def amount(self) -> int:
        """The amount that it sets if it is a write with a body."""
        return FIRST_AMOUNT + self.number


def judge(request: Request, reply: Reply) -> str:
    """What is wrong with a whole answer, or "". Notes the entry that the answer says was made."""
    kind = request.stencil.kind
    if reply.request_id != request.id:
        return "the answer carries another X-Request-ID"
    if reply.status != kind.expect:
        return f"status {reply.status}, expected {kind.expect}"
    if not reply.instance:
        return "no X-Instance"
    try:
        return _CHECKS[kind.content](request, reply.body)
    except msgspec.DecodeError as error:
        return f"unreadable content: {type(error).__name__}"


class _Entry(msgspec.Struct):
    id: str


class _Written(msgspec.Struct):
    id: str
    amount: int


class _Entries(msgspec.Struct):
    entries: list[_Entry]


class _Calls(msgspec.Struct):
    n: int
    failed: int


_entry = msgspec.json.Decoder(_Entry).decode
_written = msgspec.json.Decoder(_Written).decode
_entries = msgspec.json.Decoder(_Entries).decode
_calls = msgspec.json.Decoder(_Calls).decode


def _is_entry(request: Request, body: bytes) -> str:
    return "" if _entry(body).id == request.entry else "another entry than asked for"


def _is_written(request: Request, body: bytes) -> str:
    found = _written(body)
    request.entry = request.entry or found.id
    if found.id != request.entry:
        return "another entry than written"
    return "" if found.amount == request.amount else "the entry is not what was written"


def _are_entries(_request: Request, body: bytes) -> str:
    return "" if len(_entries(body).entries) <= 20 else "more entries than asked for"


def _are_calls(_request: Request, body: bytes) -> str:
    found = _calls(body)
    return "" if (found.n, found.failed) == (3, 0) else "not all calls were answered"


def _is_page(_request: Request, body: bytes) -> str:
    return "" if b"</html>" in body[-100:].lower() else "not a whole HTML page"


def _is_nothing(_request: Request, body: bytes) -> str:
    return "an unexpected body" if body else ""


_Check: TypeAlias = Callable[[Request, bytes], str]
_CHECKS: dict[Content, _Check] = {
    "entry": _is_entry,
    "written": _is_written,
    "entries": _are_entries,
    "calls": _are_calls,
    "page": _is_page,
    "": _is_nothing,
}
