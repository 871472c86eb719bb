"""Rows: one record of one request by one observer, as JSON lines.

The client writes ClientRow (loadtest/), nginx writes ProxyRow (nginx/nginx.conf.j2, log_format
rows), a service writes ServiceRow (services/common/rows.py). Of the ledger, effects and touched
entries are exported as EffectRow and EntryRow, and a drill writes an Event for whatever happens.
This module is the one place that gives their shape. Times named `planned`, `sent`, `done` and `t`
are CLOCK_MONOTONIC seconds, which every process of one host shares; nginx and the ledger know only
the wall clock, so `ended` and `at` are Unix seconds and the run keeps the offset between the two.
The watchdog writes a WatchRow for whatever it saw and did.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

Error = Literal[
    "", "refused", "reset", "closed", "timeout", "gave_up", "stopped", "unsent", "other"
]  # fmt: skip
GaveUp = Literal[
    "", "down_queue_full", "down_queue_timeout", "busy_queue_full", "busy_queue_timeout",
    "retry_budget", "poison",
]  # fmt: skip
Effect = Literal["", "none", "applied", "replayed"]
EventKind = Literal["phase", "inject", "confirmed", "heal", "healed", "failed", "skipped", "state"]
WatchKind = Literal[
    "watching", "exit", "started", "ready", "hang", "crashing", "recovered", "orphan",
    "supervisord", "host", "dropped", "blocked",
]  # fmt: skip


class Found(msgspec.Struct, frozen=True, array_like=True):
    """An entry as an answer shows it: `["4f1c...", 3, 1000000123]` in a row.

    `amount` stands for the whole value: each write of a load sets another one.
    """

    entry: str
    version: int
    amount: int


class ClientRow(msgspec.Struct, frozen=True):
    """One request as the client saw it. Exactly one send on the wire belongs to one row.

    `status` is 0 when no whole answer arrived; `error` then says how it ended. An arrival that was
    planned and never sent has the error `unsent` and `sent` 0; `done` is when it was given up.
    `wrong` says what was not as expected of a whole answer, in a few words; with `unsent` and
    `stopped` what the load generator itself had run out of, if it had. `effect` says what the
    request asks for: `read` changes nothing, the others change the ledger entry `entry` (known for
    a POST only once it is answered), and set its amount to `amount` (None: it sets none). `found`
    are the entries that the answer shows, in its order; None when it is not about entries.
    """

    id: str
    name: str
    method: str
    target: str
    planned: float
    sent: float
    done: float
    status: int
    error: Error = ""
    wrong: str = ""
    key: str = ""
    instance: str = ""
    boot: str = ""
    bytes: int = 0
    effect: Literal["read", "create", "replace", "change", "delete"] = "read"
    entry: str = ""
    replayed: bool = False
    amount: int | None = None
    found: list[Found] | None = None


class RowsEnd(msgspec.Struct, frozen=True):
    """The file FILE.end, which a worker of a load writes after the last of its rows.

    The file holds `rows` rows then, one for each request of that worker. `early` is whether it has
    ended while the load was to go on. Without this the file is not whole.
    """

    rows: int
    early: bool = False


class ProxyRow(msgspec.Struct, frozen=True):
    """One request as nginx saw it.

    `addrs`, `statuses`, `connect`, `header` and `response` are nginx's own lists, an attempt each:
    attempts are joined by ", ", groups (internal redirects) by " : ". `complete` is "OK" only when
    the whole answer was sent. `queued` is how many seconds it waited inside nginx for an instance
    (none alive, or each had all it takes); `gave_up` says why nginx answered 503 by itself.
    In `target` and `key` U+FFFD stands for the first byte that is no UTF-8 and all that follows.
    """

    id: str
    proxy_id: str
    ended: float
    took: float
    method: str
    target: str
    status: int
    bytes: int
    complete: str
    request_class: str
    key: str
    client: str
    worker: int
    connection: int
    addrs: str
    statuses: str
    connect: str
    header: str
    response: str
    instance: str
    boot: str
    queued: float = 0.0
    gave_up: GaveUp = ""


class ServiceRow(msgspec.Struct, frozen=True):
    """One end of one execution: `begin` is written before any effect, `end` after the answer.

    An execution is named by (instance, boot, n). A begin without an end died with its process or
    still runs. A row `dropped` says that `n` rows could not be written before it.
    """

    kind: Literal["begin", "end", "dropped"]
    t: float
    id: str
    n: int
    instance: str
    pid: int
    boot: str
    method: str = ""
    target: str = ""
    key: str | None = None
    status: int = 0
    effect: Effect = ""
    fault: str = ""  # of an end row: what the instance was told to do to it, e.g. "errors"


class EffectRow(msgspec.Struct, frozen=True):
    """One write that the ledger applied, in the order of commits (`seq`); `at` is Unix seconds.

    `amount` is the entry's afterwards; None when it was deleted, or by a service that notes none.
    """

    seq: int
    request_id: str
    key: str | None
    op: Literal["create", "replace", "change", "delete"]
    entry_id: str
    version: int
    instance: str
    boot: str
    at: float
    amount: int | None = None


class EntryRow(msgspec.Struct, frozen=True):
    """An entry that the run touched, as the ledger holds it after the run; `deleted` ones too.

    These have no `amount`.
    """

    id: str
    version: int
    deleted: bool
    amount: int | None = None


class Event(msgspec.Struct, frozen=True):
    """One thing that happened to the stack or to the run, at monotonic time `t`.

    - phase: from now on the run is in phase `target` (warmup, baseline, faults, recovery, end).
    - inject, confirmed, heal, healed: the four moments of one injection, number `n` of the run:
      begun, proved to be in force, undoing begun, proved to be undone. `fault` names it,
      `target` what it was done to, `detail` gives the proof.
    - failed: injection `n` could not be done, was not confirmed, or could not be undone.
    - skipped: injection `n` had nothing to be done to.
    - state: what is seen of process `target` from outside; `detail` is up, dead or stopped.
    """

    t: float
    kind: EventKind
    target: str = ""
    fault: str = ""
    n: int = 0
    detail: str = ""


class WatchRow(msgspec.Struct, frozen=True):
    """One thing that the watchdog saw or did, at monotonic time `t`, about program `target`.

    - watching: it began to watch; `detail` has its pid, and the pid of what the row is about below.
    - exit, started, ready: a supervised process ended; a new one leads; it said READY for the first
      time.
    - hang: killed because its loop did not turn; `detail` says how that was seen.
    - blocked: nginx answered no new connection for so long, and its workers are being replaced.
    - crashing: it died again without having been ready; `detail` says how often. recovered: it is
      ready after that.
    - orphan: something was done about processes whose leader has died; `detail` says what.
    - supervisord: it had died, and another was started.
    - host: another host was heard for the first time, is silent, or is heard again (`detail`).
    - dropped: so many rows (`detail`) could not be written before this one.
    """

    t: float
    kind: WatchKind
    target: str = ""
    detail: str = ""


Row = TypeVar("Row", bound=msgspec.Struct)

encode = msgspec.json.Encoder().encode


# Where a row begins: when a full disk has cut one, the next follows it at once. No other text of a
# line looks so: a row holds no row, and a quotation mark inside of a string is escaped.
_BEGIN = re.compile(rb'(?=\{"[a-z_]+":)')


def read_rows(
    path: Path, shape: type[Row], cut: Callable[[int], object] | None = None
) -> Iterator[Row]:
    """The rows of one JSON-lines file, in file order.

    With `cut`, lines that a full disk has cut short are no error: `cut` is called with the number
    of the line for each piece that is no JSON, and the rows that were appended to one are read.

    msgspec.DecodeError if a line is not a row of this shape; the message names file and line.
    """
    decoder = msgspec.json.Decoder(shape)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            whole = cut is None or _is_json(line)
            for piece in [line] if whole else _BEGIN.split(line):
                if cut and not whole and not _is_json(piece):
                    if piece.strip():
                        cut(number)
                    continue
                try:
                    # nginx copied a client's bytes as they came; what is no UTF-8 is U+FFFD.
                    yield decoder.decode(piece.decode(errors="replace"))
                except msgspec.DecodeError as error:
                    raise msgspec.DecodeError(f"{path}:{number}: {error}") from error


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text.decode(errors="replace"), type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True
