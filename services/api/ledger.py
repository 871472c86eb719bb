"""The ledger's words and its interface: what any storage of entries takes and gives.

The rules that hold for every storage are in rules.py; the storage is chosen by the scheme of the
ledger's URL. A new kind of storage adds its scheme here and a module of its own.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from services.identity import Identity

LEDGER_SCHEMES = ("sqlite", "postgresql", "mariadb")

MAX_AMOUNT = 10**12
MAX_MEMO = 500
MAX_LIMIT = 200
DEFAULT_LIMIT = 50
ACCOUNT_PATTERN = r"[A-Za-z0-9._-]{1,64}"
CURSOR_PATTERN = r"c[1-9a-f][0-9a-f]{0,14}"  # fits the 63 bits of a row number
MEMO_PATTERN = r"[^\u0000]*"
ENTRY_ID_PATTERN = r"[A-Za-z0-9_-]{1,64}"

# msgspec searches, so the ends are anchored; \Z, because $ would let a final line feed pass.
Account = Annotated[str, Meta(pattern=rf"\A{ACCOUNT_PATTERN}\Z")]
# JSON has one kind of number: 3.0 is the integer 3, and is taken as such.
Amount = (
    Annotated[int, Meta(ge=-MAX_AMOUNT, le=MAX_AMOUNT)]
    | Annotated[float, Meta(ge=-MAX_AMOUNT, le=MAX_AMOUNT, multiple_of=1)]
)
EntryId = Annotated[str, Meta(pattern=rf"\A{ENTRY_ID_PATTERN}\Z")]
# Any text but U+0000, which PostgreSQL cannot keep.
Memo = Annotated[str, Meta(max_length=MAX_MEMO, pattern=rf"\A{MEMO_PATTERN}\Z")]

# What a write asks for: POST, PUT, PATCH, DELETE.
Op = Literal["create", "replace", "change", "delete"]


class Draft(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a PUT: an entry as its client gives it."""

    account: Account
    amount: Amount
    memo: Memo = ""


class NewDraft(Draft, frozen=True, forbid_unknown_fields=True):
    """The body of a POST: the same, and an id if the client wants to choose it."""

    id: EntryId | UnsetType = UNSET


class Changes(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a PATCH: the members to change."""

    account: Account | UnsetType = UNSET
    amount: Amount | UnsetType = UNSET
    memo: Memo | UnsetType = UNSET


class Entry(Struct, frozen=True):
    """One entry of the ledger; times are RFC 3339 in UTC."""

    id: str
    account: str
    amount: int
    memo: str
    version: int
    created_at: str
    updated_at: str

    @property
    def etag(self) -> str:
        """The entity tag: the version in quotes."""
        return f'"{self.version}"'


class Key(Struct, frozen=True):
    """The idempotency key of a write, what it stands for, and how long it is kept at least."""

    text: str
    fingerprint: bytes
    keep_s: float


class Conditions(Struct, frozen=True):
    """If-Match and If-None-Match: sets of entity tags, {"*"} for any, None when absent."""

    if_match: frozenset[str] | None = None
    if_none_match: frozenset[str] | None = None

    def failed(self, etag: str | None) -> str | None:
        """The name of the header that does not hold for `etag` (None: no entry), if one does."""
        if self.if_match is not None and not _matches(self.if_match, etag):
            return "If-Match"
        if self.if_none_match is not None and self.none_match_fails(etag):
            return "If-None-Match"
        return None

    def none_match_fails(self, etag: str | None) -> bool:
        """Whether If-None-Match is given and names `etag`; weak tags count (RFC 9110, 13.1.2)."""
        tags = frozenset(tag.removeprefix("W/") for tag in self.if_none_match or ())
        return _matches(tags, etag)


def _matches(tags: frozenset[str], etag: str | None) -> bool:
    return etag is not None and ("*" in tags or etag in tags)


class Write(Struct, frozen=True):
    """One write, complete: everything that its execution needs."""

    op: Op
    entry_id: str
    request_id: str
    draft: Draft | None = None
    changes: Changes | None = None
    conditions: Conditions = Conditions()
    key: Key | None = None


class Answer(Struct, frozen=True):
    """The answer to a write, as it is stored with a key and sent: byte for byte the same."""

    status: int
    body: bytes
    etag: str | None = None
    location: str | None = None
    replayed: bool = False

    @property
    def applied(self) -> bool:
        """Whether this execution changed the ledger."""
        return self.status < 400 and not self.replayed


class Query(Struct, frozen=True):
    """Which entries to list: newest first, at most `limit`, only those before `before`."""

    limit: int
    account: str | None = None
    min_amount: int | None = None
    max_amount: int | None = None
    before: int | None = None


class Page(Struct, frozen=True):
    """Some entries, and where the next page starts (None: there is none)."""

    entries: list[Entry]
    next_before: int | None


class Counts(Struct):
    """What the ledger of this process has done since it was opened."""

    commits: int = 0
    operations: int = 0
    waiting: int = 0


class Ledger(Protocol):
    """A store of entries. Its coroutines run on the event loop and never block it."""

    counts: Counts

    async def apply(self, write: Write) -> Answer:
        """Execute `write` and answer once its effect is durable.

        Raises:
            ApiError: 503, when the storage is locked or too much is waiting; nothing was written.
        """

    async def get(self, entry_id: str) -> Entry | None:
        """The entry, or None."""

    async def list(self, query: Query) -> Page:
        """The entries that `query` asks for."""

    async def close(self) -> None:
        """Finish what is waiting, then let go of the storage. Nothing may be asked afterwards."""


class LedgerError(Exception):
    """The ledger cannot be opened; the message says which one and why."""


encode = msgspec.json.Encoder().encode


def timestamp(at: float) -> str:
    """Unix seconds as entries have them: RFC 3339 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def open_ledger(url: str, password: str, identity: Identity) -> Ledger:
    """Open the ledger that `url` names, and create it when it is new.

    `password` is for a server; SQLite has none.

    Raises:
        LedgerError: it cannot be opened.
    """
    # Imported here: a process loads the driver of its own storage only.
    scheme, _, place = url.partition("://")
    if scheme == "sqlite":
        from services.api.sqlite_ledger import SqliteLedger

        return SqliteLedger(place.removeprefix("/"), identity)
    if scheme in LEDGER_SCHEMES:
        from services.api.sql_ledger import SqlLedger

        return SqlLedger(url, password, identity)
    raise LedgerError(f"{url}: no such kind of ledger; known: {', '.join(LEDGER_SCHEMES)}")
