"""The ledger over HTTP: /api/v1/entries and /api/v1/entries/{id}."""

import uuid
from decimal import Decimal

import msgspec
from msgspec import UNSET

from services.api.errors import ApiError
from services.api.http import inputs
from services.api.http.handlers import BaseHandler
from services.api.ledger import rules
from services.api.ledger.entry import Changes, Conditions, Draft, NewDraft, Op, Write, read_amount

# Tornado decodes no JSON: the bodies go straight into typed objects.
DRAFT = msgspec.json.Decoder(Draft, dec_hook=read_amount, float_hook=Decimal)
NEW_DRAFT = msgspec.json.Decoder(NewDraft, dec_hook=read_amount, float_hook=Decimal)
CHANGES = msgspec.json.Decoder(Changes, dec_hook=read_amount, float_hook=Decimal)


class LedgerHandler(BaseHandler):
    """A resource of the ledger: all writes go one way."""

    async def execute(self, op: Op, entry_id: str, body: Draft | Changes | None = None) -> None:
        """Execute a write and answer with exactly what the ledger has stored."""
        headers = self.request.headers
        conditions = Conditions() if op == "create" else inputs.read_conditions(headers)
        key = inputs.read_key(self.request)
        write = Write(op, entry_id, self.request_id, body, conditions, key)
        answer = await self.service.ledger.apply(write)
        self.note_effect(answer.effect)
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
        wanted = inputs.read_query(self.request, inputs.FILTERS)
        # To clients a cursor means nothing: it stands for a place in the list.
        cursor = wanted.pop("cursor")
        before = None if cursor is None else int(cursor[1:], 16)
        page = await self.service.ledger.list(**wanted, before=before)
        following = None if page.next_before is None else f"c{page.next_before:x}"
        self.finish(msgspec.json.encode({"entries": page.entries, "next_cursor": following}))

    async def post(self) -> None:
        """Add an entry, under a new id unless the client chose one."""
        inputs.read_query(self.request)
        draft = inputs.read_body(self.request, NEW_DRAFT)
        entry_id = uuid.uuid4().hex if draft.id is UNSET else draft.id
        await self.execute("create", entry_id, draft)


class EntryById(LedgerHandler):
    """One entry."""

    def check(self) -> None:
        """Raise an ApiError 400 if the id or a query argument is malformed."""
        inputs.read_query(self.request)
        entry_id = self.path_args[0]
        if not inputs.ENTRY_ID.fullmatch(entry_id):
            raise ApiError("entry_id_malformed", entry_id=entry_id)

    async def get(self, entry_id: str) -> None:
        """Answer with the entry, or 304 (the client has it), 404, 412 (If-Match does not hold)."""
        conditions = inputs.read_conditions(self.request.headers)
        entry = await self.service.ledger.get(entry_id)
        if entry is None:
            raise ApiError("entry_not_found", entry_id=entry_id)
        failed = conditions.failed(entry.etag)
        if failed == "If-Match":
            raise rules.precondition_failed(failed, entry_id, entry)
        self.set_header("ETag", entry.etag)
        if failed:
            self.set_status(304)
            self.finish()
        else:
            self.finish(msgspec.json.encode(entry))

    async def put(self, entry_id: str) -> None:
        await self.execute("replace", entry_id, inputs.read_body(self.request, DRAFT))

    async def patch(self, entry_id: str) -> None:
        """Change some members; raise an ApiError 422 if there is nothing to change."""
        changes = inputs.read_body(self.request, CHANGES)
        if changes == Changes():
            problem = "The body changes nothing: give account, amount or memo."
            raise ApiError("body_invalid", problem=problem)
        await self.execute("change", entry_id, changes)

    async def delete(self, entry_id: str) -> None:
        await self.execute("delete", entry_id)
