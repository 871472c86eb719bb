"""The time axis that all charts of a run share, and what lies on it."""

from collections.abc import Iterator
from dataclasses import dataclass

from duckdb import DuckDBPyConnection

FINEST_S = 0.1
MOST_BUCKETS = 1200  # about as many as a screen has pixels for: two minutes of the finest
STEPS = (1, 2, 5)

Counts = tuple[int, ...]


@dataclass(frozen=True)
class Axis:
    """The time axis. Whatever lies on it is in seconds after `began` or in buckets of it."""

    began: float
    width: float
    buckets: int

    @property
    def seconds(self) -> float:
        """How long the axis is."""
        return self.width * self.buckets

    def counts(self, rows: list[tuple[int, int]]) -> Counts:
        """(bucket, count) pairs as one count for each bucket."""
        found = dict(rows)
        return tuple(found.get(bucket, 0) for bucket in range(self.buckets))


@dataclass(frozen=True)
class Span:
    """Something that lasted, in seconds of the axis."""

    name: str
    began: float
    ended: float

    @property
    def words(self) -> str:
        """What, when and how long."""
        return f"{self.name} at {self.began:.3f} s for {self.ended - self.began:.3f} s"


def began(account: DuckDBPyConnection) -> float:
    """The monotonic second that a report counts from: the first phase, or the first request."""
    row = account.execute(
        "SELECT coalesce((SELECT min(began) FROM phases), (SELECT min(planned) FROM requests), 0)"
    ).fetchone()
    return float(row[0]) if row else 0.0


def axis_of(account: DuckDBPyConnection) -> Axis:
    """From the first phase to whatever came last, in buckets of a round width."""
    zero = began(account)
    row = account.execute(
        "SELECT greatest((SELECT max(ended) FROM phases), (SELECT max(done) FROM requests))"
    ).fetchone()
    seconds = max((row[0] if row and row[0] is not None else zero) - zero, FINEST_S)
    width = bucket_width(seconds)
    return Axis(zero, width, max(round(seconds / width), 1))


def bucket_width(seconds: float) -> float:
    """The finest of 0.1, 0.2, 0.5, 1, 2, ... s that needs no more than MOST_BUCKETS."""
    scale = FINEST_S
    while True:
        for step in STEPS:
            if seconds <= step * scale * MOST_BUCKETS:
                return round(step * scale, 6)
        scale *= 10


def bucket_of(axis: Axis, time: str) -> str:
    """SQL: the bucket of a monotonic time; what lies outside belongs to the first or the last."""
    number = f"floor(({time} - {axis.began!r}) / {axis.width!r})"
    return f"least(greatest({number}, 0), {axis.buckets - 1})::INTEGER"


def spans(
    account: DuckDBPyConnection, axis: Axis, table: str, name: str, **only: str
) -> Iterator[Span]:
    """The rows of a table that began and ended, as far as they lie on the axis; `only` these."""
    where = " AND ".join(["ended > began", *(f"{column} = ${column}" for column in only)])
    rows = account.execute(
        f"SELECT {name}, began, ended FROM {table} WHERE {where} ORDER BY began", only
    ).fetchall()
    for found, began, ended in rows:
        yield Span(found, max(began - axis.began, 0), min(ended - axis.began, axis.seconds))
