"""The part of a stack's rows and ledger that was written during one run."""

from collections.abc import Sequence
from dataclasses import dataclass

from bulkhead.accounting.load import Effect
from bulkhead.drill.ledger import Ledger
from bulkhead.drill.tail import CHUNK, Tail
from bulkhead.records import EffectRow, encode
from bulkhead.render.paths import Home
from bulkhead.rundir import RunDir


@dataclass(frozen=True)
class Mark:
    """What the stack writes from one moment on."""

    proxy: Sequence[Tail]
    service: Sequence[Tail]
    watch: Sequence[Tail]
    effects: int

    def hold(self) -> None:
        """Hold on to every file that there is now: a host may be started again and again."""
        for tail in (*self.proxy, *self.service, *self.watch):
            tail.hold()


def mark(homes: Sequence[Home], ledger: Ledger) -> Mark:
    """From now on, in the homes of all hosts.

    Raises:
        EvidenceError: the ledger cannot be read.
    """
    return Mark(
        [Tail(home.proxy_rows) for home in homes],
        [Tail(home.service_rows) for home in homes],
        [Tail(home.watch_rows) for home in homes],
        ledger.last(),
    )


def keep(since: Mark, run: RunDir) -> None:
    """Copy the rows that were written since a mark into the run folder, once."""
    for tails, target in (
        (since.proxy, run.proxy_rows),
        (since.service, run.service_rows),
        (since.watch, run.watch_rows),
    ):
        for tail in tails:
            tail.copy(target)


def effects(ledger: Ledger, since: Mark) -> list[Effect]:
    """What the ledger applied since a mark, in the order of application.

    Raises:
        EvidenceError: the ledger cannot be read.
    """
    return [
        (row.request_id, row.key, row.op, row.entry_id, row.version)
        for row in ledger.rows(since.effects)
        if isinstance(row, EffectRow)
    ]


def keep_ledger(ledger: Ledger, since: Mark, run: RunDir) -> None:
    """Write what the ledger applied since a mark, and how it holds every entry touched by that.

    Raises:
        EvidenceError: the ledger cannot be read.
    """
    with run.effects.open("wb") as effects, run.entries.open("wb") as entries:
        for row in ledger.rows(since.effects):
            (effects if isinstance(row, EffectRow) else entries).write(encode(row) + b"\n")


def keep_logs(homes: Sequence[Home], run: RunDir) -> None:
    """Copy what nginx, supervisord and the instances printed, each file's last megabyte.

    Where there are several hosts each has a folder of its own, called as its home is.
    """
    for home in homes:
        folder = run.log if len(homes) == 1 else run.log / home.path.name
        folder.mkdir(parents=True)
        for path in sorted(
            path for kind in ("*.log", "*.log.[0-9]*", "*.log.old") for path in home.log.glob(kind)
        ):
            with path.open("rb") as lines:
                lines.seek(max(0, path.stat().st_size - CHUNK))
                (folder / path.name).write_bytes(lines.read())
