"""A run over time: what happened in each bucket of one time axis that all charts share."""

from collections.abc import Iterator
from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from bulkhead.report.axis import Axis, Counts, Span, axis_of, bucket_of, spans
from bulkhead.report.lanes import Injection, Lane, Mark, injections, lanes, marks

OUTCOMES = ("answered", "failed", "indeterminate", "not_sent")

FASTEST_S = 0.001
DECADES, ROWS_PER_DECADE = 4, 8  # 1 ms to 10 s
ROWS = DECADES * ROWS_PER_DECADE

Times = tuple[float | None, ...]


@dataclass(frozen=True)
class Cell:
    """The requests of one bucket whose latency is in one row of the heat map."""

    bucket: int
    row: int
    """0 is 1 ms and below, ROWS - 1 is just below 10 s and above."""
    count: int
    not_answered: int


@dataclass(frozen=True)
class Timeline:
    """Everything that the charts show."""

    axis: Axis
    offered: Counts
    """Requests by the bucket in which they were planned."""
    ended: dict[str, Counts]
    """Requests by outcome and the bucket in which they ended."""
    latencies: dict[str, Times]
    """p50, p99 and max of the answers, by the bucket in which their requests were planned."""
    cells: tuple[Cell, ...]
    phases: tuple[Span, ...]
    injections: tuple[Injection, ...]
    lanes: tuple[Lane, ...]
    watch: tuple[Mark, ...] = ()
    """What the watchdog did, in order of time; that of an instance is in its lane too."""


def timeline(account: DuckDBPyConnection) -> Timeline:
    """The run of an account over time."""
    axis = axis_of(account)
    done = tuple(injections(account, axis))
    seen = marks(account, axis)
    return Timeline(
        axis,
        offered=axis.counts(_counted(account, axis, "requests", "planned")),
        ended={
            outcome: axis.counts(
                _counted(account, axis, "requests", "done", f"outcome = '{outcome}'")
            )
            for outcome in OUTCOMES
        },
        latencies=_latencies(account, axis),
        cells=tuple(_cells(account, axis)),
        phases=tuple(spans(account, axis, "phases", "name")),
        injections=done,
        lanes=tuple(lanes(account, axis, done, seen)),
        watch=seen,
    )


def _counted(
    account: DuckDBPyConnection, axis: Axis, table: str, time: str, where: str = "true"
) -> list[tuple[int, int]]:
    query = f"SELECT {bucket_of(axis, time)} AS b, count(*) FROM {table} WHERE {where} GROUP BY b"
    return account.execute(query).fetchall()


def _latencies(account: DuckDBPyConnection, axis: Axis) -> dict[str, Times]:
    rows = account.execute(
        f"""
        SELECT {bucket_of(axis, "planned")} AS b, quantile_disc(latency_s, 0.5::DECIMAL(4,3)),
               quantile_disc(latency_s, 0.99::DECIMAL(4,3)), max(latency_s)
        FROM requests WHERE latency_s IS NOT NULL GROUP BY b
        """
    ).fetchall()
    found = {bucket: figures for bucket, *figures in rows}
    nothing: list[float | None] = [None, None, None]
    columns = zip(*(found.get(bucket, nothing) for bucket in range(axis.buckets)), strict=True)
    return dict(zip(("p50", "p99", "max"), columns, strict=True))


def _cells(account: DuckDBPyConnection, axis: Axis) -> Iterator[Cell]:
    """What was not answered is shown by the time after which the client knew, or gave up."""
    took = f"greatest(done - planned, {FASTEST_S})"
    row = f"floor({ROWS_PER_DECADE} * log10({took} / {FASTEST_S}))"
    rows = account.execute(
        f"""
        SELECT {bucket_of(axis, "planned")} AS b, least({row}, {ROWS - 1})::INTEGER AS r,
               count(*), count(*) FILTER (outcome <> 'answered')
        FROM requests WHERE outcome <> 'not_sent' GROUP BY b, r ORDER BY r, b
        """
    ).fetchall()
    return (Cell(*found) for found in rows)
