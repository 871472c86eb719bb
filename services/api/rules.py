"""What a write does, whatever the storage. Pure: what the storage holds goes in, what it is to do
comes out.

A storage looks up the key (`replay`), then the entry, asks `decide`, and does what that says:
the change, the row in its effects table, and the answer stored with the key, all of it or nothing.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, Struct

from services.api.errors import (
    ApiError,
    entry_exists,
    entry_not_found,
    key_reused,
    precondition_failed,
)
from services.api.ledger import Answer, Entry, Key, Write, encode


class Change(Struct, frozen=True):
    """What one applied write does to the entries.

    `entry` is the entry as it is afterwards; when it is deleted, as it was. `version` is that of
    the effect: an id that comes back goes on counting where its deletion ended.
    """

    how: Literal["insert", "update", "delete"]
    entry: Entry
    version: int


def replay(key: Key, fingerprint: bytes, answer: Answer) -> Answer:
    """The answer to a write whose key is stored, with this fingerprint and this answer."""
    if fingerprint != key.fingerprint:
        return _refusal(key_reused(key.text))
    return msgspec.structs.replace(answer, replayed=True)


def decide(
    write: Write, entry: Entry | None, deleted_version: int, now: str
) -> tuple[Answer, Change | None]:
    """The answer to a write that is no replay, and the change that it makes if it makes one.

    `entry` is the one with the write's id, locked against other writes. When there is none,
    `deleted_version` is the version that its deletion had, 0 if it was never deleted. `now` is
    RFC 3339 in UTC.
    """
    refusal = _refused(write, entry)
    if refusal is not None:
        return _refusal(refusal), None
    if entry is None:
        return _insert(write, deleted_version + 1, now)
    if write.op == "delete":
        return Answer(204, b""), Change("delete", entry, entry.version + 1)
    return _update(write, entry, now)


def _refused(write: Write, entry: Entry | None) -> ApiError | None:
    # RFC 9110, 13.2.1: a request that would fail anyway fails for its own reason, not for If-Match.
    if entry is None and write.op in ("change", "delete"):
        return entry_not_found(write.entry_id)
    if entry is not None and write.op == "create":
        return entry_exists(entry.id, entry.version)
    header = write.conditions.failed(entry.etag if entry else None)
    if header is None:
        return None
    return precondition_failed(header, write.entry_id, entry.version if entry else None)


def _insert(write: Write, version: int, now: str) -> tuple[Answer, Change]:
    assert write.draft is not None
    entry = Entry(
        id=write.entry_id,
        account=write.draft.account,
        amount=int(write.draft.amount),
        memo=write.draft.memo,
        version=version,
        created_at=now,
        updated_at=now,
    )
    location = f"/api/v1/entries/{entry.id}"
    answer = Answer(201, encode(entry), etag=entry.etag, location=location)
    return answer, Change("insert", entry, version)


def _update(write: Write, entry: Entry, now: str) -> tuple[Answer, Change]:
    wanted = write.draft or write.changes
    assert wanted is not None
    members = {
        name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET
    }
    if "amount" in members:
        members["amount"] = int(members["amount"])
    entry = msgspec.structs.replace(entry, **members, version=entry.version + 1, updated_at=now)
    return Answer(200, encode(entry), etag=entry.etag), Change("update", entry, entry.version)


def _refusal(error: ApiError) -> Answer:
    return Answer(error.status_code, error.body())
