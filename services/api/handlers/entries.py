"""The ledger over HTTP: /api/v1/entries and /api/v1/entries/{id}."""

import re
import uuid

import msgspec
from msgspec import UNSET

from services.api.errors import (
    body_invalid,
    entry_id_malformed,
    entry_not_found,
    precondition_failed,
    query_malformed,
    shown,
)
from services.api.handlers.base import BaseHandler
from services.api.inputs import (
    read_body,
    read_conditions,
    read_integer,
    read_key,
    read_query,
)
from services.api.ledger import (
    ACCOUNT_PATTERN,
    CURSOR_PATTERN,
    DEFAULT_LIMIT,
    ENTRY_ID_PATTERN,
    MAX_AMOUNT,
    MAX_LIMIT,
    Answer,
    Changes,
    Draft,
    NewDraft,
    Op,
    Query,
    Write,
    encode,
)

ENTRY_ID = re.compile(ENTRY_ID_PATTERN)
ACCOUNT = re.compile(ACCOUNT_PATTERN)
CURSOR = re.compile(CURSOR_PATTERN)
FILTERS = ("account", "min_amount", "max_amount", "limit", "cursor")

# Tornado decodes no JSON: the bodies go straight into typed objects.
DRAFT = msgspec.json.Decoder(Draft)
NEW_DRAFT = msgspec.json.Decoder(NewDraft)
CHANGES = msgspec.json.Decoder(Changes)


class LedgerHandler(BaseHandler):
    """A resource of the ledger: writes go through `apply`, one way for all of them."""

    async def apply(self, write: Write) -> None:
        """Execute `write` and answer as the ledger says."""
        answer = await self.service.ledger.apply(write)
        self.note_effect(applied=answer.applied, replayed=answer.replayed)
        self.send(answer)

    def send(self, answer: Answer) -> None:
        """Answer with exactly what the ledger has stored."""
        self.set_status(answer.status)
        for name, value in (("ETag", answer.etag), ("Location", answer.location)):
            if value is not None:
                self.set_header(name, value)
        if answer.replayed:
            self.set_header("Idempotent-Replayed", "true")
        self.finish(answer.body or None)


class Entries(LedgerHandler):
    """The collection."""

    async def get(self) -> None:
        """List entries, newest first."""
        page = await self.service.ledger.list(self._query())
        cursor = None if page.next_before is None else encode_cursor(page.next_before)
        self.finish(msgspec.json.encode({"entries": page.entries, "next_cursor": cursor}))

    head = get

    def _query(self) -> Query:
        arguments = read_query(self.request, FILTERS)
        account = arguments.get("account")
        if account is not None and not ACCOUNT.fullmatch(account):
            raise query_malformed(f"account = {shown(account)} is no account name.", FILTERS)
        limit = read_integer(arguments, "limit", 1, MAX_LIMIT)
        cursor = arguments.get("cursor")
        return Query(
            limit=DEFAULT_LIMIT if limit is None else limit,
            account=account,
            min_amount=read_integer(arguments, "min_amount", -MAX_AMOUNT, MAX_AMOUNT),
            max_amount=read_integer(arguments, "max_amount", -MAX_AMOUNT, MAX_AMOUNT),
            before=None if cursor is None else decode_cursor(cursor),
        )

    async def post(self) -> None:
        """Add an entry, under a new id unless the client chose one."""
        read_query(self.request)
        draft = read_body(self.request, NEW_DRAFT)
        write = Write(
            op="create",
            entry_id=uuid.uuid4().hex if draft.id is UNSET else draft.id,
            request_id=self.request_id,
            key=read_key(self.request),
            draft=draft,
        )
        await self.apply(write)


class EntryById(LedgerHandler):
    """One entry."""

    def check(self) -> None:
        """Check what all methods have in common.

        Raises:
            ApiError: 400, the id or a query argument is malformed.
        """
        read_query(self.request)
        entry_id = self.path_args[0]
        if not ENTRY_ID.fullmatch(entry_id):
            raise entry_id_malformed(entry_id)

    async def get(self, entry_id: str) -> None:
        """Answer with the entry, or 304 when the client has it.

        Raises:
            ApiError: 404; 412, If-Match does not hold.
        """
        conditions = read_conditions(self.request.headers)
        entry = await self.service.ledger.get(entry_id)
        if entry is None:
            raise entry_not_found(entry_id)
        failed = conditions.failed(entry.etag)
        if failed == "If-Match":
            raise precondition_failed(failed, entry_id, entry.version)
        self.set_header("ETag", entry.etag)
        if failed:
            self.set_status(304)
            self.finish()
        else:
            self.finish(encode(entry))

    head = get

    async def put(self, entry_id: str) -> None:
        """Create or replace the entry."""
        await self._write("replace", entry_id, draft=read_body(self.request, DRAFT))

    async def patch(self, entry_id: str) -> None:
        """Change some members of the entry.

        Raises:
            ApiError: 422, there is nothing to change.
        """
        changes = read_body(self.request, CHANGES)
        if changes == Changes():
            raise body_invalid("The body changes nothing: give account, amount or memo.")
        await self._write("change", entry_id, changes=changes)

    async def delete(self, entry_id: str) -> None:
        """Delete the entry."""
        await self._write("delete", entry_id)

    async def _write(
        self,
        op: Op,
        entry_id: str,
        draft: Draft | None = None,
        changes: Changes | None = None,
    ) -> None:
        await self.apply(
            Write(
                op=op,
                entry_id=entry_id,
                request_id=self.request_id,
                draft=draft,
                changes=changes,
                conditions=read_conditions(self.request.headers),
                key=read_key(self.request),
            )
        )


def encode_cursor(before: int) -> str:
    """The text that stands for a place in the list; to clients it means nothing."""
    return f"c{before:x}"


def decode_cursor(cursor: str) -> int:
    """The place that `cursor` stands for.

    Raises:
        ApiError: 400, it cannot have come from `encode_cursor`.
    """
    if not CURSOR.fullmatch(cursor):
        raise query_malformed(f"cursor = {shown(cursor)} is not one of ours.", FILTERS)
    return int(cursor[1:], 16)
