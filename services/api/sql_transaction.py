"""One write on a database server, as one transaction: keys, entries and effects together.

Isolation is READ COMMITTED, and what must not happen twice at once waits for a lock. Each
transaction takes them in the same order, so that no two wait for each other: the key, the entry.
What still collides (two writes that create one id at the same moment) fails by a unique index or
as a deadlock, and the whole transaction is tried again.
"""

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api import rules, sql_tables
from services.api.ledger import Answer, Entry, Key, Write, timestamp
from services.identity import Identity

UNDER_WAY = 0  # the status of a key whose write has no answer yet


class SqlTransaction:
    """One write transaction; the caller begins and commits it."""

    def __init__(self, connection: AsyncConnection, identity: Identity, at: float) -> None:
        self._connection = connection
        self._identity = identity
        self._at = at

    async def apply(self, write: Write) -> Answer:
        """Execute `write` once: a key that was answered before gets its stored answer again."""
        if write.key is None:
            return await self._decide(write)
        if not await self._claim(write.key):
            found = await self._connection.execute(
                sql_tables.STORED_ANSWER, {"text": write.key.text}
            )
            fingerprint, *stored = found.one()
            return rules.replay(write.key, bytes(fingerprint), _answer(*stored))
        answer = await self._decide(write)
        await self._connection.execute(
            sql_tables.STORE_ANSWER,
            {
                "text": write.key.text,
                "new_status": answer.status,
                "new_body": answer.body,
                "new_etag": answer.etag,
                "new_location": answer.location,
            },
        )
        return answer

    async def _claim(self, key: Key) -> bool:
        """Whether this is the first write with this key; waits for the end of another one's."""
        claimed = await self._connection.execute(
            sql_tables.insert_unless_there(sql_tables.keys, self._connection.dialect.name),
            {
                "key": key.text,
                "fingerprint": key.fingerprint,
                "status": UNDER_WAY,
                "body": b"",
                "expires": self._at + key.keep_s,
            },
        )
        return claimed.rowcount == 1

    async def _decide(self, write: Write) -> Answer:
        key = {"entry_id": write.entry_id}
        row = (await self._connection.execute(sql_tables.LOCKED_ENTRY, key)).one_or_none()
        entry = None if row is None else Entry(*row)
        deleted = 0
        if entry is None:
            deleted = await self._connection.scalar(sql_tables.DELETED_VERSION, key) or 0
        answer, change = rules.decide(write, entry, deleted, timestamp(self._at))
        if change is not None:
            await self._carry_out(change)
            await self._note_effect(write, change.version)
        return answer

    async def _carry_out(self, change: rules.Change) -> None:
        entry, execute = change.entry, self._connection.execute
        if change.how == "insert":
            await execute(
                insert(sql_tables.entries),
                {name: getattr(entry, name) for name in entry.__struct_fields__},
            )
        elif change.how == "update":
            await execute(
                sql_tables.UPDATE_ENTRY,
                {
                    "entry_id": entry.id,
                    "new_account": entry.account,
                    "new_amount": entry.amount,
                    "new_memo": entry.memo,
                    "new_version": entry.version,
                    "new_updated_at": entry.updated_at,
                },
            )
        else:
            await execute(sql_tables.DELETE_ENTRY, {"entry_id": entry.id})
            # Nobody else deletes this entry at this moment: its row was locked.
            gone = {"gone_id": entry.id, "gone_version": change.version}
            if (await execute(sql_tables.UPDATE_DELETED, gone)).rowcount == 0:
                values = {"entry_id": entry.id, "version": change.version}
                await execute(insert(sql_tables.deleted), values)

    async def _note_effect(self, write: Write, version: int) -> None:
        await self._connection.execute(
            insert(sql_tables.effects),
            {
                "request_id": write.request_id,
                "key": write.key and write.key.text,
                "op": write.op,
                "entry_id": write.entry_id,
                "version": version,
                "instance": self._identity.instance,
                "boot": self._identity.boot,
                "at": self._at,
            },
        )


async def delete_expired_keys(connection: AsyncConnection, at: float, at_most: int) -> int:
    """Delete at most so many keys that were kept long enough; how many were deleted."""
    found = await connection.execute(sql_tables.EXPIRED_KEYS, {"at": at, "at_most": at_most})
    texts = list(found.scalars())
    if texts:
        await connection.execute(sql_tables.DELETE_KEYS, {"texts": texts})
    return len(texts)


def _answer(status: int, body: bytes, etag: str | None, location: str | None) -> Answer:
    return Answer(status, bytes(body), etag, location)
