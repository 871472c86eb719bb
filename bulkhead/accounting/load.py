"""What the client rows of a load test say, and whether the ledger agrees with them.

Every request is in exactly one outcome:

- ok: a whole answer with a status below 400 that is as expected.
- failed: a whole answer with a status of 400 or above or with something wrong in it; or no whole
  answer to a read; or a write whose connection was refused, for then nothing was sent.
- indeterminate: a write that may have been sent and got no whole answer. The client does not know.
- stopped: a read that the end of the load test cut off. It says nothing about the stack.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bulkhead.records import ClientRow

Outcome = Literal["ok", "failed", "indeterminate", "stopped"]

# (request_id, key, op, entry_id, version): a row of the ledger's table `effects`.
Effect = tuple[str, str | None, str, str, int]


@dataclass(frozen=True)
class Latency:
    """Exact quantiles in seconds, by nearest rank: the smallest value such that at least the named
    share of all values is not above it. Every one is a value that was measured."""

    p50: float
    p90: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True)
class Group:
    """A set of requests, and how they ended."""

    requests: int
    """Rows: each is one request that the client sent, or was about to send, once."""
    answered: int
    """Requests that got a whole answer, whatever its status."""
    ok: int
    """Requests that got a whole answer with a status below 400 that was as expected."""
    failed: int
    """Requests that the client knows to have failed (see the module)."""
    indeterminate: int
    """Writes of which the client does not know whether they had their effect."""
    stopped: int
    """Reads that the end of the load test cut off."""
    failed_by: dict[str, int]
    """The failed requests by status (`"503"`), error class (`"reset"`) or what was wrong, most
    frequent first."""
    indeterminate_by: dict[str, int]
    """The indeterminate requests by error class, most frequent first."""
    latency: Latency | None
    """Of the answered requests: from the planned start to the last byte; None without answers."""


@dataclass(frozen=True)
class Summary:
    """All requests of a load test."""

    all: Group
    """Every row."""
    names: dict[str, Group]
    """The rows of each name (`GET /api/v1/entries/{id}`), by name."""
    active_s: float
    """Seconds from the first planned start to the last end of a request."""
    requests_per_s: float
    """Requests per second of the active span; 0 when the span is empty."""
    throughput_per_s: float
    """Requests that ended ok per second of the active span; 0 when the span is empty."""
    instances: dict[str, int]
    """Whole answers by the instance that made them, by name; "" is whoever named no instance, such
    as nginx with a static file or an error of its own."""

    def share(self, instance: str) -> float:
        """The part, 0 to 1, of all whole answers that `instance` made."""
        return self.instances.get(instance, 0) / self.all.answered if self.all.answered else 0.0


@dataclass(frozen=True)
class Writes:
    """What the client was told about its writes against what the ledger applied."""

    acknowledged: int
    """Writes that were answered with a status of 2xx or 3xx."""
    applied: int
    """Effects in the ledger, whoever asked for them."""
    lost: tuple[str, ...]
    """Ids of acknowledged writes of which the ledger has no effect, by request id nor by key."""
    doubled: tuple[str, ...]
    """Request ids of effects whose request id or key had been applied before."""
    ghosts: tuple[str, ...]
    """Ids of writes that were applied although their client was never told that they were."""


@dataclass
class _Tally:
    """A Group while it is being counted."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    failed_by: Counter[str] = field(default_factory=Counter)
    indeterminate_by: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def add(self, row: ClientRow) -> None:
        ended = outcome(row)
        self.outcomes[ended] += 1
        if row.status:
            self.latencies.append(row.done - row.planned)
        if ended == "failed":
            self.failed_by[_cause(row)] += 1
        elif ended == "indeterminate":
            self.indeterminate_by[row.error] += 1

    def group(self) -> Group:
        return Group(
            requests=self.outcomes.total(),
            answered=len(self.latencies),
            ok=self.outcomes["ok"],
            failed=self.outcomes["failed"],
            indeterminate=self.outcomes["indeterminate"],
            stopped=self.outcomes["stopped"],
            failed_by=dict(self.failed_by.most_common()),
            indeterminate_by=dict(self.indeterminate_by.most_common()),
            latency=latency(self.latencies),
        )


def outcome(row: ClientRow) -> Outcome:
    """The one outcome of a request."""
    if row.status:
        return "ok" if row.status < 400 and not row.wrong else "failed"
    if row.effect != "read" and row.error != "refused":
        return "indeterminate"
    return "stopped" if row.error == "stopped" else "failed"


def _cause(row: ClientRow) -> str:
    if row.status >= 400:
        return str(row.status)
    return row.error or row.wrong


def latency(seconds: Iterable[float]) -> Latency | None:
    """The quantiles of `seconds`; None when there are none."""
    ordered = sorted(seconds)
    if not ordered:
        return None
    return Latency(
        p50=nearest_rank(ordered, 500),
        p90=nearest_rank(ordered, 900),
        p99=nearest_rank(ordered, 990),
        p999=nearest_rank(ordered, 999),
        max=ordered[-1],
    )


def nearest_rank(ordered: Sequence[float], per_mille: int) -> float:
    """The value at rank ceil(n x per_mille / 1000) of n ordered values, counted from 1."""
    rank = -(-len(ordered) * per_mille // 1000)  # in whole numbers: 0.999 x n may round up
    return ordered[max(rank, 1) - 1]


def summarise(rows: Iterable[ClientRow]) -> Summary:
    """Everything at once, in one pass over the rows, in any order."""
    everything = _Tally()
    names: defaultdict[str, _Tally] = defaultdict(_Tally)
    instances: Counter[str] = Counter()
    first, last = float("inf"), float("-inf")
    for row in rows:
        everything.add(row)
        names[row.name].add(row)
        first, last = min(first, row.planned), max(last, row.done)
        if row.status:
            instances[row.instance] += 1
    group = everything.group()
    active_s = max(last - first, 0.0) if group.requests else 0.0
    return Summary(
        all=group,
        names={name: names[name].group() for name in sorted(names)},
        active_s=active_s,
        requests_per_s=group.requests / active_s if active_s else 0.0,
        throughput_per_s=group.ok / active_s if active_s else 0.0,
        instances=dict(sorted(instances.items())),
    )


def check_writes(rows: Iterable[ClientRow], effects: Iterable[Effect]) -> Writes:
    """Hold the client's writes against the ledger's effects, these in the order of application."""
    ids: set[str] = set()
    keys: set[str] = set()
    doubled: dict[str, None] = {}
    applied = 0
    for request_id, key, *_ in effects:
        applied += 1
        if request_id in ids or (key and key in keys):
            doubled[request_id] = None
        ids.add(request_id)
        if key:
            keys.add(key)
    writes = [row for row in rows if row.effect != "read"]
    told = [row for row in writes if 200 <= row.status < 400]
    return Writes(
        acknowledged=len(told),
        applied=applied,
        lost=tuple(row.id for row in told if row.id not in ids and row.key not in keys),
        doubled=tuple(doubled),
        ghosts=tuple(row.id for row in writes if row.id in ids and not 200 <= row.status < 400),
    )
