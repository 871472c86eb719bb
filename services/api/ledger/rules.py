"""The rules of a write, for every storage. Pure: the stored state goes in, the change comes out.

A storage looks up the key (`replay`), then the entry, calls `decide`, and carries out its result:
the change, the row in the effects table, and the answer stored with the key, all of it or nothing.
"""

from typing import Any, Literal

from msgspec import UNSET, Struct
from msgspec.json import encode
from msgspec.structs import asdict, replace

from services.api.errors import ApiError
from services.api.ledger.entry import Key, LedgerEntry, Write, WriteAnswer
from services.common.identity import Identity


class Change(Struct, frozen=True):
    """The change of one applied write to the entries.

    `entry` is the entry as it is afterwards; when it is deleted, as it was. `version` is that of
    the effect: an id that comes back continues to count from the version of its deletion.
    """

    how: Literal["insert", "update", "delete"]
    entry: LedgerEntry
    version: int


def replay(key: Key, fingerprint: bytes, answer: WriteAnswer) -> WriteAnswer:
    """The answer to a write whose key is stored, with this fingerprint and this answer."""
    if fingerprint != key.fingerprint:
        error = ApiError("idempotency_key_reused", key=key.text)
        return WriteAnswer(error.status_code, error.body())
    return replace(answer, replayed=True)


def decide(
    write: Write, entry: LedgerEntry | None, deleted_version: int, now: str
) -> tuple[WriteAnswer, Change | None]:
    """The answer to a write that is no replay, and the change that it makes if it makes one.

    `entry` is the one with the write's id, locked against other writes. When there is none,
    `deleted_version` is the version that its deletion had, 0 if it was never deleted. `now` is
    RFC 3339 in UTC.
    """
    if error := _refused(write, entry):
        return WriteAnswer(error.status_code, error.body()), None
    if entry is None:
        return _insert(write, deleted_version + 1, now)
    if write.op == "delete":
        return WriteAnswer(204, b""), Change("delete", entry, entry.version + 1)
    return _update(write, entry, now)


def _refused(write: Write, entry: LedgerEntry | None) -> ApiError | None:
    # RFC 9110, 13.2.1: a request that would fail anyway fails for its own reason, not for If-Match.
    if entry is None and write.op in ("change", "delete"):
        return ApiError("entry_not_found", entry_id=write.entry_id)
    if entry is not None and write.op == "create":
        return ApiError("entry_exists", entry_id=entry.id, version=entry.version)
    header = write.conditions.failed(entry.etag if entry else None)
    return None if header is None else precondition_failed(header, write.entry_id, entry)


def precondition_failed(header: str, entry_id: str, entry: LedgerEntry | None) -> ApiError:
    """412: the entry is not in the state that this header requires."""
    state = f"has version {entry.version}" if entry else "does not exist"
    return ApiError("precondition_failed", header=header, entry_id=entry_id, state=state)


def _insert(write: Write, version: int, now: str) -> tuple[WriteAnswer, Change]:
    members = _members(write) | {"id": write.entry_id}
    entry = LedgerEntry(**members, version=version, created_at=now, updated_at=now)
    location = f"/api/v1/entries/{entry.id}"
    answer = WriteAnswer(201, encode(entry), etag=entry.etag, location=location)
    return answer, Change("insert", entry, version)


def _update(write: Write, entry: LedgerEntry, now: str) -> tuple[WriteAnswer, Change]:
    entry = replace(entry, **_members(write), version=entry.version + 1, updated_at=now)
    return WriteAnswer(200, encode(entry), etag=entry.etag), Change("update", entry, entry.version)


def _members(write: Write) -> dict[str, Any]:
    """The members of an entry that the body of a write gives."""
    assert write.body is not None
    given = {name: value for name, value in asdict(write.body).items() if value is not UNSET}
    return given | ({"amount": int(given["amount"])} if "amount" in given else {})


def effect_row(write: Write, change: Change, identity: Identity, at: float) -> dict[str, object]:
    """The row in the effects table of an applied write, by column."""
    return {
        "request_id": write.request_id,
        "key": write.key and write.key.text,
        "op": write.op,
        "entry_id": write.entry_id,
        "version": change.version,
        "instance": identity.instance,
        "boot": identity.boot,
        "at": at,
        "amount": None if change.how == "delete" else change.entry.amount,
    }
