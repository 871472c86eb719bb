"""The requests of a load: their kinds, their bytes, the checks of their answers, and their rows."""

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Literal

import msgspec

from bulkhead.records import ClientRow, Error, Found
from loadtest.answer import Reply

ENTRIES = "/api/v1/entries"
ENTRY = "/api/v1/entries/{id}"
JSON = "application/json"
HTML = "text/html,application/xhtml+xml"

Effect = Literal["read", "create", "replace", "change", "delete"]
# Where the entry that a request of an open loop is about comes from (EntryPool).
Source = Literal["", "any", "writable", "spare"]
# The content of an answer's body; "" is any.
Content = Literal[
    "", "nothing", "something", "256 bytes", "page", "calls", "entries", "entry", "written"
]


@dataclass(frozen=True)
class Kind:
    """One kind of request. `place` is the target, or the pattern of the targets, without query.

    `members` are the fields of a body besides the amount; None: there is no body.
    """

    name: str
    method: str
    place: str
    expect: int
    content: Content = ""
    query: str = ""
    accept: str = JSON
    effect: Effect = "read"
    keyed: bool = False
    source: Source = ""
    members: Mapping[str, str] | None = None

    @cached_property
    def row_name(self) -> str:
        """The name in its rows: the same in a closed and in an open loop."""
        return f"{self.method} {self.place}"

    def target(self, entry: str) -> str:
        """The target of a request about `entry`; without one, the pattern of such targets."""
        return (self.place.replace("{id}", entry) if entry else self.place) + self.query


_read = partial(Kind, expect=200)
_write = partial(Kind, content="written", keyed=True)
MEMBERS = {"account": "open-loop", "memo": "one of many"}  # of every entry of a load

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _read("get", "GET", ENTRY, content="entry", source="any"),
        _read("list", "GET", ENTRIES, content="entries", query="?limit=20"),
        _write("post_keyed", "POST", ENTRIES, 201, effect="create", members=MEMBERS),
        _write("post", "POST", ENTRIES, 201, effect="create", members=MEMBERS, keyed=False),
        _write("put", "PUT", ENTRY, 200, effect="replace", source="writable", members=MEMBERS),
        _write("patch", "PATCH", ENTRY, 200, effect="change", source="writable", members={}),
        _write("delete", "DELETE", ENTRY, 204, effect="delete", source="spare", content="nothing"),
        _read("fanout", "GET", "/api/v1/fanout", content="calls", query="?n=3"),
        # An ordinary request, until a drill makes it deadly (POISON in fault_injection.py).
        _read("poison", "GET", "/api/v1/work", content="nothing", query="?bytes=0"),
        _read("page", "GET", "/", content="page", accept=HTML),
    )
}
CREATE = KINDS["post_keyed"]

# Each write of an open loop sets an amount that no other request of it sets: the number of its
# arrival on top of this, so that all amounts have as many digits and all bodies of a kind the same
# length.
FIRST_AMOUNT = 1_000_000_000
MOST_SPARE = 1000


class Request(msgspec.Struct, gc=False):
    """One request. `sent` is 0 until it is sent; `entry` is "" while not known.

    `amount` is what it sets if it is a write with a body. `found` are the entries that its answer
    shows; None until there is one that is about entries.
    """

    kind: Kind
    id: str
    amount: int
    planned: float
    entry: str = ""
    target: str = ""
    sent: float = 0.0
    found: list[Found] | None = None

    @property
    def key(self) -> str:
        """The idempotency key, "" when this kind carries none."""
        return f"key-{self.id}" if self.kind.keyed else ""

    def row(self, done: float, error: Error, wrong: str, reply: Reply) -> ClientRow:
        """The row of this request, which has ended; the rest is as in ClientRow."""
        kind = self.kind
        return ClientRow(
            id=self.id,
            name=kind.row_name,
            method=kind.method,
            target=self.target,
            planned=self.planned,
            sent=self.sent,
            done=done,
            status=0 if error else reply.status,
            error=error,
            wrong=wrong,
            key=self.key,
            instance=reply.instance,
            boot=reply.boot,
            bytes=len(reply.body),
            effect=kind.effect,
            entry="" if kind.effect == "read" else self.entry,
            replayed=reply.replayed,
            amount=None if kind.members is None else self.amount,
            found=self.found,
        )


def text(
    kind: Kind, host: str, target: str, request_id: str, key: str, body: str, cookie: str = ""
) -> str:
    """A request, each character of which is one byte; what is "" is left out."""
    lines = [
        f"{kind.method} {target} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: bulkhead-loadtest",
        f"Accept: {kind.accept}",
        f"X-Request-ID: {request_id}",
    ]
    if key:
        lines.append(f"Idempotency-Key: {key}")
    if cookie:
        lines.append(f"Cookie: {cookie}")
    if body:
        lines += [f"Content-Type: {JSON}", f"Content-Length: {len(body)}"]
    return "\r\n".join((*lines, "", body))


class RequestTemplate:
    """Makes the requests of `kind` to `host`; all but a few bytes of them are made in advance."""

    def __init__(self, kind: Kind, host: str) -> None:
        self._keyed = kind.keyed
        self._has_body = kind.members is not None
        fields = {**(kind.members or {}), "amount": FIRST_AMOUNT}
        body = msgspec.json.encode(fields).decode() if self._has_body else ""
        made = text(kind, host, "\0", "\0", "\0" if kind.keyed else "", body)
        made = made.replace("%", "%%").replace("\0", "%s")
        self._pattern = made.replace(f"{FIRST_AMOUNT}}}", "%d}")

    def text(self, request: Request) -> bytes:
        """The bytes of a request of this kind."""
        fields: tuple[str | int, ...] = (request.target, request.id)
        if self._keyed:
            fields += (request.key,)
        if self._has_body:
            fields += (request.amount,)
        return (self._pattern % fields).encode("ascii")


class Entry(msgspec.Struct, frozen=True):
    """A ledger entry as an answer shows it."""

    id: str
    account: str
    amount: int
    memo: str
    version: int

    @property
    def found(self) -> Found:
        """The part of it that goes into a row."""
        return Found(self.id, self.version, self.amount)


class _Entries(msgspec.Struct):
    entries: list[Entry]


class _Calls(msgspec.Struct):
    n: int
    failed: int


_entry = msgspec.json.Decoder(Entry).decode
_entries = msgspec.json.Decoder(_Entries).decode
_calls = msgspec.json.Decoder(_Calls).decode


def shown(kind: Kind, body: bytes) -> list[Entry] | None:
    """The entries that an answer of 2xx shows; None: it is about none. It may be unreadable."""
    if kind.content == "entries":
        return _entries(body).entries
    return [_entry(body)] if kind.content in ("entry", "written") else None


def judge(request: Request, reply: Reply) -> str:
    """The defect of a whole answer, or "". Notes the entry that the answer says was made."""
    kind = request.kind
    if reply.request_id != request.id:
        return "the answer carries another X-Request-ID"
    if reply.status != kind.expect:
        return f"status {reply.status}, expected {kind.expect}"
    if not reply.instance:
        return "no X-Instance"
    try:
        return _content_problem(request, reply.body)
    except msgspec.DecodeError as error:
        return f"unreadable content: {type(error).__name__}"


def _content_problem(request: Request, body: bytes) -> str:
    kind = request.kind
    entries = shown(kind, body)
    if entries is not None:
        request.found = [entry.found for entry in entries]
    if entries is None or kind.content == "entries":
        return body_problem(kind.content, body)
    (entry,) = entries
    is_written = kind.content == "written"
    request.entry = request.entry or entry.id
    if entry.id != request.entry:
        return f"another entry than {'written' if is_written else 'asked for'}"
    made = {"account": entry.account, "memo": entry.memo}
    as_written = made == MEMBERS and (entry.amount == request.amount or not is_written)
    return "" if as_written else "the entry is not what was written"


# Conditions on a body that does not hold one entry, and the defect where one does not hold.
_CHECKS: dict[Content, tuple[Callable[[bytes], bool], str]] = {
    "": (lambda _: True, ""),
    "nothing": (lambda body: not body, "an unexpected body"),
    "something": (bool, "an empty body"),
    "256 bytes": (lambda body: len(body) == 256, "not as many bytes as asked for"),
    "page": (lambda body: b"</html>" in body[-100:].lower(), "not a whole HTML page"),
    "calls": (lambda body: _calls(body) == _Calls(3, 0), "not all calls were answered"),
    "entries": (lambda body: len(_entries(body).entries) <= 20, "more entries than asked for"),
}


def body_problem(content: Content, body: bytes) -> str:
    """The defect of a body that should hold this, but not one entry; or ""."""
    well, wrong = _CHECKS[content]
    return "" if well(body) else wrong


class EntryPool:
    """The ledger entries that an open-loop load has made, and what it may do with each.

    The first `keep` are read, and written by one request at a time; they are never deleted. All
    further ones are spare: never read, deleted once. The seed decides which one a request gets.
    """

    def __init__(self, keep: int, seed: int) -> None:
        self._keep = keep
        self._random = random.Random(f"entries {seed}").random
        self._kept: list[str] = []
        self._writable: list[str] = []  # those of the kept that no request is writing
        # A load that creates more than it deletes forgets the oldest: its memory stays the same.
        self._spare: deque[str] = deque(maxlen=MOST_SPARE)

    def add(self, entry: str) -> None:
        """Take in a new entry, whose creation was acknowledged."""
        if len(self._kept) < self._keep:
            self._kept.append(entry)
            self._writable.append(entry)
        else:
            self._spare.append(entry)

    def take(self, source: Source) -> str:
        """An entry, "" for none; one that is to be written is gone until it is put `back`."""
        if source == "spare":
            return self._spare.popleft() if self._spare else ""
        pool = self._kept if source == "any" else self._writable
        if not pool:
            return ""
        place = int(self._random() * len(pool))
        return pool[place] if source == "any" else pool.pop(place)

    def back(self, entry: str) -> None:
        """Take back an entry whose write has ended, known or not: the next may overtake it."""
        self._writable.append(entry)
