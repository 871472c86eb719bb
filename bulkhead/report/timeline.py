"""A run over time: what happened in each bucket of one time axis that all charts share."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from duckdb import DuckDBPyConnection

from bulkhead.judge.case import Row, records

OUTCOMES = ("answered", "failed", "indeterminate", "not_sent")
# Of what the watchdog writes down: an exit is in the lane already, as a death.
MARKED = ("hang", "crashing", "ready", "recovered", "orphan", "supervisord", "watching")

FINEST_S = 0.1
MOST_BUCKETS = 1200  # about as many as a screen has pixels for: two minutes of the finest

FASTEST_S = 0.001
DECADES, ROWS_PER_DECADE = 4, 8  # 1 ms to 10 s
ROWS = DECADES * ROWS_PER_DECADE

Counts = list[int]
"""A count for each bucket."""
Times = list[float | None]


@dataclass(frozen=True)
class Axis:
    """The time axis. All times on it are in seconds after `began` or in buckets of it."""

    began: float
    width: float
    buckets: int

    @property
    def seconds(self) -> float:
        """How long the axis is."""
        return self.width * self.buckets

    def bucket(self, time: str) -> str:
        """SQL: the bucket of a monotonic time; what lies outside belongs to the first or last."""
        number = f"floor(({time} - {self.began!r}) / {self.width!r})"
        return f"least(greatest({number}, 0), {self.buckets - 1})::INTEGER"


class Span(NamedTuple):
    """Something that lasted, in seconds of the axis."""

    name: str
    began: float
    ended: float


@dataclass(frozen=True)
class Lane:
    """One instance over time: its states, and the injections that it was `under`.

    `begun` are executions, those on behalf of other requests included. `lost` are attempts of the
    proxy that got no answer or a 5xx.
    """

    instance: str
    states: list[Span]
    under: list[Span]
    begun: Counts
    lost: Counts
    marks: list[Row]


@dataclass(frozen=True)
class Cell:
    """The requests of one bucket whose latency is in one row of the heat map."""

    bucket: int
    row: int  # 0 is 1 ms and below, ROWS - 1 is just below 10 s and above
    count: int
    not_answered: int


@dataclass(frozen=True)
class Timeline:
    """Everything that the charts show.

    `offered` are requests by the bucket in which they were planned, `ended` by outcome and the
    bucket in which they ended. `latencies` are p50, p99 and max of the answers, by the bucket in
    which their requests were planned. `watch` are the watchdog's events in order of time; those of
    an instance are in its lane too.
    """

    axis: Axis
    offered: Counts
    ended: dict[str, Counts]
    latencies: dict[str, Times]
    cells: list[Cell]
    phases: list[Span]
    injections: list[Row]
    lanes: list[Lane]
    watch: list[Row]


def timeline(account: DuckDBPyConnection) -> Timeline:
    """The run of an account over time, from the first phase to whatever came last."""
    zero = began(account)
    ((last,),) = account.execute(
        "SELECT greatest((SELECT max(ended) FROM phases), (SELECT max(done) FROM requests))"
    ).fetchall()
    seconds = max((zero if last is None else last) - zero, FINEST_S)
    width = round_step(seconds, MOST_BUCKETS)
    axis = Axis(zero, width, max(round(seconds / width), 1))
    done, seen = _injections(account, axis), _marks(account, axis)
    ended = _counts(account, axis, "SELECT outcome AS name, done AS t FROM requests")
    return Timeline(
        axis,
        offered=_counts(account, axis, "SELECT '' AS name, planned AS t FROM requests")[""],
        ended={outcome: ended[outcome] for outcome in OUTCOMES},
        latencies=_latencies(account, axis),
        cells=_cells(account, axis),
        phases=_spans(account, axis, "SELECT '' AS whose, * FROM phases")[""],
        injections=done,
        lanes=list(_lanes(account, axis, done, seen)),
        watch=seen,
    )


def began(account: DuckDBPyConnection) -> float:
    """The monotonic second that a report counts from: the first phase, or the first request."""
    ((t,),) = account.execute(
        "SELECT coalesce((SELECT min(began) FROM phases), (SELECT min(planned) FROM requests), 0)"
    ).fetchall()
    return float(t)


def round_step(seconds: float, most: int) -> float:
    """The finest of 0.1, 0.2, 0.5, 1, 2, ... s of which `most` are long enough."""
    scale = FINEST_S
    while True:
        for step in (1, 2, 5):
            if seconds <= step * scale * most:
                return round(step * scale, 6)
        scale *= 10


def _counts(account: DuckDBPyConnection, axis: Axis, times: str) -> dict[str, Counts]:
    """Rows (name, t) of a query, counted in the buckets of each name."""
    rows = account.execute(
        f"SELECT name, {axis.bucket('t')} AS b, count(*) FROM ({times}) GROUP BY ALL"
    ).fetchall()
    found: dict[str, Counts] = defaultdict(lambda: [0] * axis.buckets)
    for name, bucket, count in rows:
        found[name][bucket] = count
    return found


def _spans(account: DuckDBPyConnection, axis: Axis, rows: str) -> dict[str, list[Span]]:
    """Rows (whose, name, began, ended) of a query, as far as they lie on the axis."""
    lasting = account.execute(
        f"SELECT whose, name, began, ended FROM ({rows}) WHERE ended > began ORDER BY began"
    ).fetchall()
    found: dict[str, list[Span]] = defaultdict(list)
    for whose, name, began, ended in lasting:
        on_axis = max(began - axis.began, 0), min(ended - axis.began, axis.seconds)
        found[whose].append(Span(name, *on_axis))
    return found


def _latencies(account: DuckDBPyConnection, axis: Axis) -> dict[str, Times]:
    rows = account.execute(
        f"""
        SELECT {axis.bucket("planned")} AS b, quantile_disc(latency_s, 0.5::DECIMAL(4,3)),
               quantile_disc(latency_s, 0.99::DECIMAL(4,3)), max(latency_s)
        FROM requests WHERE latency_s IS NOT NULL GROUP BY b
        """
    ).fetchall()
    found: dict[str, Times] = {name: [None] * axis.buckets for name in ("p50", "p99", "max")}
    for bucket, *figures in rows:
        for times, figure in zip(found.values(), figures, strict=True):
            times[bucket] = figure
    return found


def _cells(account: DuckDBPyConnection, axis: Axis) -> list[Cell]:
    """An unanswered request is shown by the time after which its client knew, or gave up."""
    took = f"greatest(done - planned, {FASTEST_S})"
    row = f"floor({ROWS_PER_DECADE} * log10({took} / {FASTEST_S}))"
    rows = account.execute(
        f"""
        SELECT {axis.bucket("planned")} AS b, least({row}, {ROWS - 1})::INTEGER AS r,
               count(*), count(*) FILTER (outcome <> 'answered')
        FROM requests WHERE outcome <> 'not_sent' GROUP BY b, r ORDER BY r, b
        """
    ).fetchall()
    return [Cell(*found) for found in rows]


def _injections(account: DuckDBPyConnection, axis: Axis) -> list[Row]:
    """All of them, in order of time; one that was not proved to be healed lasts to the end.

    `in_force` is whether it was ever confirmed; `problem` why it did not, or could not be undone.
    """
    return records(
        account,
        """
        SELECT n, fault, target, i.began - $zero AS began,
               if(confirmed IS NULL, i.began - $zero, coalesce(healed - $zero, $seconds)) AS ended,
               confirmed IS NOT NULL AS in_force, coalesce(i.problem, '') AS problem
        FROM injections AS i ORDER BY i.began, n
        """,
        {"zero": axis.began, "seconds": axis.seconds},
    )


def _marks(account: DuckDBPyConnection, axis: Axis) -> list[Row]:
    """All that the watchdog wrote down within the axis and that is worth a mark, in order.

    `words` are all of it in a line.
    """
    query = """
        SELECT kind, target, t - $zero AS "at", detail FROM watch
        WHERE t - $zero BETWEEN 0 AND $seconds AND list_contains($kinds, kind) ORDER BY t
    """
    values = {"zero": axis.began, "seconds": axis.seconds, "kinds": list(MARKED)}
    marks = records(account, query, values)
    for one in marks:
        said = f": {one['detail']}" if one["detail"] else ""
        what = f"watchdog: {one['kind']} {one['target']}".rstrip()
        one["words"] = f"{what} at {one['at']:.3f} s{said}"
    return marks


def _lanes(
    account: DuckDBPyConnection, axis: Axis, done: Sequence[Row], seen: Sequence[Row]
) -> Iterator[Lane]:
    """One for each instance that ever was seen, did something or was tried."""
    rows = account.execute(
        """
        SELECT DISTINCT instance FROM (SELECT instance FROM states UNION ALL
            SELECT instance FROM executions UNION ALL SELECT instance FROM attempts)
        WHERE instance <> '' ORDER BY length(instance), instance
        """
    ).fetchall()
    states = _spans(account, axis, "SELECT instance AS whose, state AS name, * FROM states")
    begun = _counts(account, axis, "SELECT instance AS name, began AS t FROM executions")
    tries = """
        SELECT a.instance AS name,
               began_at + coalesce(sum(response_s) OVER (PARTITION BY proxy_id ORDER BY
                   n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS t
        FROM attempts a JOIN proxy USING (proxy_id) QUALIFY coalesce(a.status, 599) >= 500
    """
    lost = _counts(account, axis, tries)
    for (instance,) in rows:
        under = [
            Span(f"{one['fault']} {one['n']}", one["began"], one["ended"])
            for one in done
            if one["in_force"] and instance in one["target"].replace(",", " ").split()
        ]
        marks = [mark for mark in seen if mark["target"] == instance]
        yield Lane(instance, states[instance], under, begun[instance], lost[instance], marks)
