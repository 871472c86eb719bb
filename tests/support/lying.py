"""services.api, broken on purpose: each of these breaks one promise, the one that LIE names.

LIE=drops_writes python -m tests.support.lying
"""

import os
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from services.api.__main__ import main
from services.api.http import handlers, inputs
from services.api.ledger import rules
from services.api.ledger.entry import EntryList, LedgerEntry, Write, WriteAnswer, timestamp
from services.api.ledger.sqlite import SqliteLedger as Ledger
from services.api.ledger.tables import Transaction, find_entry
from services.common.rows import Execution, Rows


def _set(owner: Any, name: str, value: object) -> None:
    setattr(owner, name, value)


def drops_writes() -> None:
    """Every third write is answered as done, and nothing of it is kept."""
    turn = count()
    honest = Transaction._decide

    def decide(self: Transaction, write: Write) -> WriteAnswer:
        if next(turn) % 3:
            return honest(self, write)
        entry = find_entry(self._execute, write.entry_id)
        answer, _ = rules.decide(write, entry, 0, timestamp(self._at))
        return answer

    _set(Transaction, "_decide", decide)


def throws_values_away() -> None:
    """Nothing is kept but the effects; lists are empty, and every entry has the same value."""

    def carry_out(self: Transaction, change: rules.Change) -> None:
        if change.how == "insert":
            blank = msgspec.structs.replace(change.entry, amount=0)
            keep(self, msgspec.structs.replace(change, entry=blank))
        elif change.how == "update":
            before = find_entry(self._execute, change.entry.id)
            assert before is not None
            blank = msgspec.structs.replace(before, version=change.version)
            keep(self, msgspec.structs.replace(change, entry=blank))
        else:
            keep(self, change)

    async def no_list(_self: Any, **_wanted: Any) -> EntryList:
        return EntryList([], None)

    keep = Transaction._carry_out
    _set(Transaction, "_carry_out", carry_out)
    _set(Ledger, "list", no_list)


def returns_empty_lists() -> None:
    """A list shows nothing."""

    async def no_list(_self: Any, **_wanted: Any) -> EntryList:
        return EntryList([], None)

    _set(Ledger, "list", no_list)


def returns_old_lists() -> None:
    """A list shows what the first one of this process has shown."""
    honest = Ledger.list
    kept: list[EntryList] = []

    async def old_list(self: Any, limit: int, **wanted: Any) -> EntryList:
        if not kept:
            page = await honest(self, limit, **wanted)
            if len(page.entries) < limit:
                return page
            kept.append(page)
        return kept[0]

    _set(Ledger, "list", old_list)


def reads_stale() -> None:
    """An entry that this process has read once stays as it was."""
    honest = Ledger.get
    kept: dict[str, LedgerEntry] = {}

    async def old_entry(self: Any, entry_id: str) -> LedgerEntry | None:
        found = kept.get(entry_id) or await honest(self, entry_id)
        if found is not None:
            kept[entry_id] = found
        return found

    _set(Ledger, "get", old_entry)


def reads_nothing() -> None:
    """Now and then an entry that is there is not found."""
    honest = Ledger.get
    turn = count(1)

    async def no_entry(self: Any, entry_id: str) -> LedgerEntry | None:
        return await honest(self, entry_id) if next(turn) % 10 else None

    _set(Ledger, "get", no_entry)


def applies_twice() -> None:
    """Every write is applied, and then once more."""
    honest = Transaction._decide

    def decide(self: Transaction, write: Write) -> WriteAnswer:
        answer = honest(self, write)
        if write.op in ("replace", "change"):
            return honest(self, write)
        return answer

    _set(Transaction, "_decide", decide)


def ignores_versions() -> None:
    """Every version is the first one."""
    honest = rules._update

    def update(write: Write, entry: LedgerEntry, now: str) -> tuple[WriteAnswer, rules.Change]:
        return honest(write, msgspec.structs.replace(entry, version=0), now)

    _set(rules, "_update", update)


def forgets_keys() -> None:
    """No key is kept with its effect."""
    _set(inputs, "read_key", lambda _request: None)


def writes_no_rows() -> None:
    """No instance but the first writes down what it executes."""
    if os.environ["BULKHEAD_INSTANCE"] != "api-1":
        _set(Rows, "_write", lambda _self, _row: None)


def ends_no_row() -> None:
    """Of every tenth execution it is not written down how it ended."""
    honest = Rows.end

    def end(self: Rows, execution: Execution, status: int) -> None:
        if execution.number % 10:
            honest(self, execution, status)

    _set(Rows, "end", end)


def is_another_instance() -> None:
    """It answers in another instance's name."""
    _answer_as("X-Instance", "api-1")


def is_another_boot() -> None:
    """It answers as a process that there never was."""
    _answer_as("X-Boot", "1.1")


def _answer_as(name: str, value: str) -> None:
    """To whoever asks for anything but whether it is ready."""
    honest = handlers.BaseHandler.set_default_headers

    def set_default_headers(self: handlers.BaseHandler) -> None:
        honest(self)
        if self.recorded:
            self.set_header(name, value)

    _set(handlers.BaseHandler, "set_default_headers", set_default_headers)


def says_it_replayed() -> None:
    """Its rows say that each write had been done before."""
    _set(
        handlers.BaseHandler,
        "note_effect",
        lambda self, _effect: setattr(self._execution, "effect", "replayed"),
    )


LIES: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        drops_writes,
        throws_values_away,
        returns_empty_lists,
        returns_old_lists,
        reads_stale,
        reads_nothing,
        applies_twice,
        ignores_versions,
        forgets_keys,
        writes_no_rows,
        ends_no_row,
        is_another_instance,
        is_another_boot,
        says_it_replayed,
    )
}

if __name__ == "__main__":
    LIES[os.environ["LIE"]]()
    sys.exit(main())
