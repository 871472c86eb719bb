"""What a write does, inside one transaction, whatever the storage.

`execute` looks a key up, applies the effect, notes it in the effects table and stores the answer
with the key. The caller commits all of it or none of it.
"""

from typing import Protocol

import msgspec
from msgspec import UNSET

from services.api.errors import (
    ApiError,
    entry_exists,
    entry_not_found,
    key_reused,
    precondition_failed,
)
from services.api.ledger import Answer, Entry, Key, Write, encode


class Transaction(Protocol):
    """One open transaction of a storage, as the rules use it."""

    def stored_answer(self, key: str) -> tuple[bytes, Answer] | None:
        """The fingerprint and the answer that are stored with `key`."""

    def store_answer(self, key: Key, answer: Answer) -> None:
        """Keep `answer` for replays of `key`."""

    def entry(self, entry_id: str) -> Entry | None:
        """The entry, or None."""

    def deleted_version(self, entry_id: str) -> int:
        """The version that the deletion of `entry_id` had; 0 when it was never deleted."""

    def insert(self, entry: Entry) -> None:
        """Add a new entry."""

    def update(self, entry: Entry) -> None:
        """Put `entry` in the place of the one with its id."""

    def delete(self, entry: Entry, version: int) -> None:
        """Remove `entry`; its deletion is version `version`."""

    def note_effect(self, write: Write, version: int) -> None:
        """Add the effects row of one applied write."""

    @property
    def now(self) -> str:
        """The time of this transaction, RFC 3339 in UTC."""


def execute(transaction: Transaction, write: Write) -> Answer:
    """Execute `write` once: a key that was answered before gets its stored answer again."""
    if write.key is None:
        return _apply(transaction, write)
    stored = transaction.stored_answer(write.key.text)
    if stored is not None:
        fingerprint, answer = stored
        if fingerprint != write.key.fingerprint:
            return _refusal(key_reused(write.key.text))
        return msgspec.structs.replace(answer, replayed=True)
    answer = _apply(transaction, write)
    transaction.store_answer(write.key, answer)
    return answer


def _apply(transaction: Transaction, write: Write) -> Answer:
    entry = transaction.entry(write.entry_id)
    # RFC 9110, 13.2.1: a request that would fail anyway fails for its own reason, not for If-Match.
    if entry is None and write.op in ("change", "delete"):
        return _refusal(entry_not_found(write.entry_id))
    if entry is not None and write.op == "create":
        return _refusal(entry_exists(entry.id, entry.version))
    header = write.conditions.failed(entry.etag if entry else None)
    if header is not None:
        version = entry.version if entry else None
        return _refusal(precondition_failed(header, write.entry_id, version))
    if entry is None:
        return _insert(transaction, write)
    if write.op == "delete":
        return _delete(transaction, write, entry)
    return _update(transaction, write, entry)


def _insert(transaction: Transaction, write: Write) -> Answer:
    assert write.draft is not None
    now = transaction.now
    entry = Entry(
        id=write.entry_id,
        account=write.draft.account,
        amount=int(write.draft.amount),
        memo=write.draft.memo,
        # An id that comes back goes on counting where it ended: an ETag never means two contents.
        version=transaction.deleted_version(write.entry_id) + 1,
        created_at=now,
        updated_at=now,
    )
    transaction.insert(entry)
    transaction.note_effect(write, entry.version)
    location = f"/api/v1/entries/{entry.id}"
    return Answer(201, encode(entry), etag=entry.etag, location=location)


def _update(transaction: Transaction, write: Write, entry: Entry) -> Answer:
    wanted = write.draft or write.changes
    assert wanted is not None
    members = {
        name: value for name, value in msgspec.structs.asdict(wanted).items() if value is not UNSET
    }
    if "amount" in members:
        members["amount"] = int(members["amount"])
    entry = msgspec.structs.replace(
        entry, **members, version=entry.version + 1, updated_at=transaction.now
    )
    transaction.update(entry)
    transaction.note_effect(write, entry.version)
    return Answer(200, encode(entry), etag=entry.etag)


def _delete(transaction: Transaction, write: Write, entry: Entry) -> Answer:
    version = entry.version + 1
    transaction.delete(entry, version)
    transaction.note_effect(write, version)
    return Answer(204, b"")


def _refusal(error: ApiError) -> Answer:
    return Answer(error.status_code, error.body())
