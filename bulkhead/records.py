"""Rows: one record of one request by one observer, as JSON lines.

The client writes ClientRow (loadtest/), nginx writes ProxyRow (nginx/nginx.conf.j2, log_format
rows), a service writes ServiceRow (services/rows.py). Of the ledger, effects and touched entries
are exported as EffectRow and EntryRow, and a drill writes an Event for whatever happens.
This module is the one place that gives their shape. Times named `planned`, `sent`, `done` and `t`
are CLOCK_MONOTONIC seconds, which every process of one host shares; nginx and the ledger know only
the wall clock, so `ended` and `at` are Unix seconds and the run keeps the offset between the two.
The watchdog writes a WatchRow for whatever it saw and did.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

Error = Literal["", "refused", "reset", "closed", "timeout", "stopped", "unsent", "other"]
GaveUp = Literal["", "dead_full", "dead_late", "busy_full", "busy_late", "retry_budget"]
Effect = Literal["", "none", "applied", "replayed"]
EventKind = Literal["phase", "inject", "held", "heal", "healed", "failed", "skipped", "state"]
WatchKind = Literal[
    "watching", "exit", "started", "ready", "hang", "crashing", "recovered", "stray", "supervisord",
    "host",
]  # fmt: skip


class ClientRow(msgspec.Struct, frozen=True):
    """What the client saw of one request. Exactly one send on the wire belongs to one row.

    `status` is 0 when no whole answer arrived; `error` then says how it ended. An arrival that was
    planned and never sent has the error `unsent` and `sent` 0; `done` is when it was given up.
    `wrong` says what was not as expected of a whole answer, in a few words. `effect` says what the
    request asks for: `read` changes nothing, the others change the ledger entry `entry` (known for
    a POST only once it is answered).
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


class RowsEnd(msgspec.Struct, frozen=True):
    """What a worker of a load writes beside its own file of rows, FILE.end, after the last of them.

    The file holds `rows` rows then, one for each request of that worker. `early` is whether it has
    ended while the load was to go on. Without this the file is not whole.
    """

    rows: int
    early: bool = False


class ProxyRow(msgspec.Struct, frozen=True):
    """What nginx saw of one request.

    `addrs`, `statuses`, `connect`, `header` and `response` are nginx's own lists, an attempt each:
    attempts are joined by ", ", groups (internal redirects) by " : ". `complete` is "OK" only when
    the whole answer was sent. `held` is how many seconds it waited inside nginx for an instance
    (none alive, or each had all it takes); `gave_up` says why nginx answered 503 by itself.
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
    held: float = 0.0
    gave_up: GaveUp = ""


class ServiceRow(msgspec.Struct, frozen=True):
    """One end of one execution: `begin` is written before any effect, `end` after the answer.

    An execution is named by (instance, boot, n). A begin without an end died with its process or
    still runs.
    """

    kind: Literal["begin", "end"]
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
    fault: str = (
        ""  # of an end row: what the instance was told to do to this request, e.g. "errors"
    )


class EffectRow(msgspec.Struct, frozen=True):
    """One write that the ledger applied, in the order of commits (`seq`); `at` is Unix seconds."""

    seq: int
    request_id: str
    key: str | None
    op: Literal["create", "replace", "change", "delete"]
    entry_id: str
    version: int
    instance: str
    boot: str
    at: float


class EntryRow(msgspec.Struct, frozen=True):
    """An entry that the run touched, as the ledger holds it after the run; `deleted` ones too."""

    id: str
    version: int
    deleted: bool


class Event(msgspec.Struct, frozen=True):
    """One thing that happened to the stack or to the run, at monotonic time `t`.

    - phase: from now on the run is in phase `target` (warmup, baseline, faults, recovery, end).
    - inject, held, heal, healed: the four moments of one injection, number `n` of the run: begun,
      proved to be in force, undoing begun, proved to be undone. `fault` names it, `target` what it
      was done to, `detail` gives the proof.
    - failed: injection `n` could not be done, did not take hold, or could not be undone.
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
    - crashing: it died again without having been ready; `detail` says how often. recovered: it is
      ready after that.
    - stray: something was done about processes whose leader has died; `detail` says what.
    - supervisord: it had died, and another was started.
    - host: another host was heard for the first time, is silent, or is heard again (`detail`).
    """

    t: float
    kind: WatchKind
    target: str = ""
    detail: str = ""


Row = TypeVar("Row", bound=msgspec.Struct)

encode = msgspec.json.Encoder().encode


def read_rows(path: Path, shape: type[Row]) -> Iterator[Row]:
    """The rows of one JSON-lines file, in file order.

    Raises:
        msgspec.DecodeError: a line is not a row of this shape; the message names file and line.
    """
    decoder = msgspec.json.Decoder(shape)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                # nginx copies a client's bytes as they came; what is no UTF-8 is shown as U+FFFD.
                yield decoder.decode(line.decode(errors="replace"))
            except msgspec.DecodeError as error:
                raise msgspec.DecodeError(f"{path}:{number}: {error}") from error
