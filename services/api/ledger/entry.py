"""The ledger's model: entries, writes and their answers.

It knows no storage. The rules of a write are in rules.py, the storages in sqlite.py and server.py.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from services.common.rows import Effect

MAX_AMOUNT = 10**12
MAX_MEMO = 500
MAX_LIMIT = 200
DEFAULT_LIMIT = 50
ACCOUNT_PATTERN = r"[A-Za-z0-9._-]{1,64}"
CURSOR_PATTERN = r"c[1-9a-f][0-9a-f]{0,14}"  # fits the 63 bits of a row number
MEMO_PATTERN = r"[^\u0000]*"
ENTRY_ID_PATTERN = r"[A-Za-z0-9_-]{1,64}"

# How many reads, and how many writes, may wait in one process. Any more are refused at once: at a
# few thousand writes a second the last of them would wait for a fraction of a second, and memory
# stays bounded when the ledger is locked.
MAX_WAITING = 512
# How long a read or write waits for a lock, or for a server that is away, before it is refused.
PATIENCE_S = 5.0

# msgspec searches, so the ends are anchored; \Z, because $ would let a final line feed pass.
Account = Annotated[str, Meta(pattern=rf"\A{ACCOUNT_PATTERN}\Z")]
EntryId = Annotated[str, Meta(pattern=rf"\A{ENTRY_ID_PATTERN}\Z")]
# Any text but U+0000, which PostgreSQL cannot keep.
Memo = Annotated[str, Meta(max_length=MAX_MEMO, pattern=rf"\A{MEMO_PATTERN}\Z")]

# The kinds of write: POST, PUT, PATCH, DELETE.
Op = Literal["create", "replace", "change", "delete"]


class Amount(int):
    """A whole number of the smallest unit; `read_amount` makes one of a number in JSON."""


def read_amount(_kind: type, value: object) -> Amount:
    """The amount that a JSON number stands for: an int, or a Decimal with every digit of it.

    JSON has one kind of number: 3.0 is the integer 3, and is taken as such. An amount is never
    rounded: a number that is close to an integer is refused. Every refusal is a ValueError, which
    msgspec reports for the member.
    """
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        raise ValueError(f"Expected `int`, got `{type(value).__name__}`")
    if not -MAX_AMOUNT <= value <= MAX_AMOUNT:
        raise ValueError(f"Expected `int` from -{MAX_AMOUNT} to {MAX_AMOUNT}")
    if value != int(value):
        raise ValueError("Expected `int`, got a fraction")
    return Amount(value)


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


class LedgerEntry(Struct, frozen=True):
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
    """The idempotency key of a write, the hash of its request, and how long it is kept at least."""

    text: str
    fingerprint: bytes
    keep_s: float


class Conditions(Struct, frozen=True):
    """If-Match and If-None-Match: sets of entity tags, {"*"} for any, None when absent."""

    if_match: frozenset[str] | None = None
    if_none_match: frozenset[str] | None = None

    def failed(self, etag: str | None) -> str | None:
        """The name of the header that does not hold for `etag` (None: no entry), if one does."""
        held: set[str] = set() if etag is None else {"*", etag}
        if self.if_match is not None and not held & self.if_match:
            return "If-Match"
        # Here weak tags count (RFC 9110, 13.1.2).
        unwanted = {tag.removeprefix("W/") for tag in self.if_none_match or ()}
        return "If-None-Match" if held & unwanted else None


class Write(Struct, frozen=True):
    """One write, complete: everything that its execution needs."""

    op: Op
    entry_id: str
    request_id: str
    body: Draft | Changes | None = None
    conditions: Conditions = Conditions()
    key: Key | None = None


class WriteAnswer(Struct, frozen=True):
    """The answer to a write, as it is stored with a key and sent: byte for byte the same."""

    status: int
    body: bytes
    etag: str | None = None
    location: str | None = None
    replayed: bool = False

    @property
    def effect(self) -> Effect:
        """The effect of this execution on the ledger."""
        if self.replayed:
            return "replayed"
        return "applied" if self.status < 400 else "none"


class EntryList(Struct, frozen=True):
    """Some entries, and where the next page starts (None: there is none)."""

    entries: list[LedgerEntry]
    next_before: int | None


class LedgerError(Exception):
    """The ledger cannot be opened; the message says which one and why."""


def timestamp(at: float) -> str:
    """Unix seconds as entries have them: RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
