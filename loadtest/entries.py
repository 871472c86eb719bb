"""Requests about one ledger entry, each with the check that the answer holds what was written."""

import random
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from loadtest.client import Client, Outcome, Request
from loadtest.mix import ENTRIES, ENTRY
from loadtest.wire import Answer


class Entry(msgspec.Struct, frozen=True):
    """A ledger entry as its owner knows it."""

    id: str
    account: str
    amount: int
    memo: str
    version: int

    def next(self, **changes: Any) -> "Entry":
        """This entry after one more write."""
        return msgspec.structs.replace(self, version=self.version + 1, **changes)


def any_amount() -> int:
    """An amount like any other."""
    return random.randint(-999, 999)


def create(client: Client, account: str, memo: str) -> Entry | None:
    """POST a new entry; None when it is not known to be there as written."""
    body = {"account": account, "amount": any_amount(), "memo": memo}

    def is_new(answer: Answer) -> str:
        entry_id = answer.header("location").rpartition("/")[2]
        return _holds(answer, msgspec.convert(body | {"id": entry_id, "version": 1}, Entry))

    outcome = client.send(
        Request(
            method="POST",
            target=ENTRIES,
            body=body,
            effect="create",
            expect=(201,),
            check=is_new,
        )
    )
    return None if outcome.wrong else msgspec.json.decode(outcome.answer.body, type=Entry)


def get(client: Client, entry: Entry) -> Outcome:
    """GET an entry that must be as it is known."""
    return client.send(
        Request(
            method="GET",
            target=f"{ENTRIES}/{entry.id}",
            name=ENTRY,
            check=lambda answer: _holds(answer, entry),
        )
    )


def put(client: Client, entry: Entry) -> Outcome:
    """PUT what `entry` says; the answer must hold it, version included."""
    body = {"account": entry.account, "amount": entry.amount, "memo": entry.memo}
    return _write(client, "PUT", "replace", entry, body)


def patch(client: Client, entry: Entry, amount: int) -> Outcome:
    """PATCH the amount; the answer must hold `entry`, version included."""
    return _write(client, "PATCH", "change", entry, {"amount": amount})


def delete(client: Client, entry: Entry) -> Outcome:
    """DELETE the entry."""
    return client.send(
        Request(
            method="DELETE",
            target=f"{ENTRIES}/{entry.id}",
            name=ENTRY,
            effect="delete",
            entry=entry.id,
            expect=(200, 204),
        )
    )


def _write(
    client: Client,
    method: str,
    effect: Literal["replace", "change"],
    entry: Entry,
    body: Mapping[str, object],
) -> Outcome:
    return client.send(
        Request(
            method=method,
            target=f"{ENTRIES}/{entry.id}",
            name=ENTRY,
            body=body,
            effect=effect,
            entry=entry.id,
            check=lambda answer: _holds(answer, entry),
        )
    )


def _holds(answer: Answer, entry: Entry) -> str:
    """What is wrong with an answer that must hold `entry`, or ""."""
    found = msgspec.json.decode(answer.body, type=Entry)
    if found.version != entry.version:
        return "the entry's version is not what was written"
    if found != entry:
        return "the entry is not what was written"
    if answer.header("etag") != f'"{entry.version}"':
        return "the ETag is not the entry's version"
    return ""
