"""What was done to the stack, and what each instance did meanwhile."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from duckdb import DuckDBPyConnection

from bulkhead.report.axis import Axis, Counts, Span, bucket_of, spans

# Of what the watchdog writes down: an exit is in the lane already, as a death.
MARKED = ("hang", "crashing", "ready", "recovered", "stray", "supervisord", "watching")


@dataclass(frozen=True)
class Injection:
    """One fault done to the stack."""

    n: int
    fault: str
    target: str
    began: float
    held: float | None
    heal: float | None
    ended: float
    problem: str
    """Why it was skipped, did not take hold or could not be undone; '' when all went well."""

    @property
    def in_force(self) -> bool:
        """Whether it ever took hold."""
        return self.held is not None

    @property
    def words(self) -> str:
        """What, whom, when, how long, and why not."""
        when = f"at {self.began:.3f} s for {self.ended - self.began:.3f} s"
        why = f"; {self.problem}" if self.problem else ""
        return f"{self.fault} of {self.target} (injection {self.n}) {when}{why}"


@dataclass(frozen=True)
class Mark:
    """One thing that the watchdog saw or did at one moment."""

    kind: str
    target: str
    at: float
    detail: str

    @property
    def words(self) -> str:
        """What, whom, when and why."""
        said = f": {self.detail}" if self.detail else ""
        return f"watchdog: {self.kind} {self.target}".rstrip() + f" at {self.at:.3f} s{said}"


@dataclass(frozen=True)
class Lane:
    """One instance over time."""

    instance: str
    states: tuple[Span, ...]
    under: tuple[Span, ...]
    """The injections whose target it was."""
    begun: Counts
    """Executions that it began, those on behalf of other requests included."""
    lost: Counts
    """Attempts of the proxy at it that got no answer or a 5xx."""
    marks: tuple[Mark, ...] = ()
    """What the watchdog did about it: kills of what hung, crash loops, and when it was ready."""

    @property
    def deaths(self) -> int:
        """How often it was seen dying."""
        return sum(span.name == "dead" for span in self.states)


def injections(account: DuckDBPyConnection, axis: Axis) -> Iterator[Injection]:
    """All of them, in order of time; what held and was never proved undone lasts to the end."""
    rows = account.execute(
        """
        SELECT n, fault, target, began - $zero, held - $zero, heal - $zero, healed - $zero,
               coalesce(problem, '')
        FROM injections ORDER BY began, n
        """,
        {"zero": axis.began},
    ).fetchall()
    for n, fault, target, began, held, heal, healed, problem in rows:
        ended = began if held is None else axis.seconds if healed is None else healed
        yield Injection(n, fault, target, began, held, heal, ended, problem)


def marks(account: DuckDBPyConnection, axis: Axis) -> tuple[Mark, ...]:
    """All that the watchdog wrote down within the axis and that is worth a mark, in order."""
    rows = account.execute(
        """
        SELECT kind, target, t - $zero, detail FROM watch
        WHERE t - $zero BETWEEN 0 AND $seconds AND list_contains($kinds, kind) ORDER BY t
        """,
        {"zero": axis.began, "seconds": axis.seconds, "kinds": list(MARKED)},
    ).fetchall()
    return tuple(Mark(*row) for row in rows)


def lanes(
    account: DuckDBPyConnection,
    axis: Axis,
    done: tuple[Injection, ...],
    seen: tuple[Mark, ...] = (),
) -> Iterator[Lane]:
    """One for each instance that ever was seen, did something or was tried."""
    rows: list[Any] = account.execute(
        """
        SELECT DISTINCT instance FROM (SELECT instance FROM states UNION ALL
            SELECT instance FROM executions UNION ALL SELECT instance FROM attempts)
        WHERE instance <> '' ORDER BY length(instance), instance
        """
    ).fetchall()
    begun = _by_instance(account, axis, "SELECT instance, began AS t FROM executions")
    lost = _by_instance(
        account,
        axis,
        """
        SELECT a.instance, began_at + coalesce(sum(response_s) OVER (PARTITION BY proxy_id ORDER BY
                   n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS t
        FROM attempts a JOIN proxy USING (proxy_id) QUALIFY coalesce(a.status, 599) >= 500
        """,
    )
    for (instance,) in rows:
        yield Lane(
            instance,
            tuple(spans(account, axis, "states", "state", instance=instance)),
            tuple(
                Span(f"{one.fault} {one.n}", one.began, one.ended)
                for one in done
                if instance in one.target.replace(",", " ").split() and one.in_force
            ),
            axis.counts(begun.get(instance, [])),
            axis.counts(lost.get(instance, [])),
            tuple(mark for mark in seen if mark.target == instance),
        )


def _by_instance(
    account: DuckDBPyConnection, axis: Axis, times: str
) -> dict[str, list[tuple[int, int]]]:
    """Rows (instance, t) counted in the buckets of each instance."""
    rows = account.execute(
        f"SELECT instance, {bucket_of(axis, 't')} AS b, count(*) FROM ({times}) GROUP BY ALL"
    ).fetchall()
    found: dict[str, list[tuple[int, int]]] = {}
    for instance, bucket, count in rows:
        found.setdefault(instance, []).append((bucket, count))
    return found
