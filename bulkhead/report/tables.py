"""The tables of a run, from its account: how requests ended, how long they took, who answered."""

from dataclasses import dataclass

from duckdb import DuckDBPyConnection

QUANTILES = ("p50", "p90", "p99", "p99.9", "max")
# SQL: the quantiles of some requests, each NULL where none was answered. The ranks are decimals:
# 0.999 as a binary fraction times n may land on the wrong side of a rank.
RANKED = """coalesce(quantile_disc(latency_s, [0.5::DECIMAL(4,3), 0.9::DECIMAL(4,3),
    0.99::DECIMAL(4,3), 0.999::DECIMAL(4,3), 1]), list_resize([]::DOUBLE[], 5))"""
COMPARED = {"baseline": "before", "faults": "during", "recovery": "after"}


@dataclass(frozen=True)
class Ending:
    """The requests that ended in one way."""

    outcome: str
    """An outcome of the account; or `slow`, which is a part of `answered`."""
    cause: str
    """Why, for all that were not answered; of a slow answer, what took most of its time."""
    meaning: str
    count: int
    share: float
    """Of all requests, 0 to 1."""
    by_phase: dict[str, int]
    """The count in each phase that has any."""


@dataclass(frozen=True)
class Latencies:
    """How long the answers to one class of request took, of those planned in one phase."""

    kind: str
    """`all`, or a class."""
    phase: str
    requests: int
    answered: int
    """Whole answers, whatever their status: only they have a latency."""
    quantiles: list[float | None]
    """Seconds from planned start to last byte, by nearest rank, in the order of QUANTILES."""


@dataclass(frozen=True)
class Answers:
    """The whole answers that one instance made; `proxy` is nginx itself, `` is nobody known."""

    instance: str
    count: int
    share: float
    by_phase: dict[str, int]


def phases(account: DuckDBPyConnection) -> tuple[str, ...]:
    """The names of the phases that lasted, in their order."""
    rows = account.execute("SELECT name FROM phases WHERE ended > began ORDER BY began").fetchall()
    return tuple(name for (name,) in rows)


def endings(account: DuckDBPyConnection) -> list[Ending]:
    """Every outcome with every cause that occurred: answered first, then most frequent first."""
    rows = account.execute(
        """
        SELECT outcome, cause, any_value(coalesce(causes.meaning, outcomes.meaning, '')),
               count(*), count(*) / sum(count(*)) OVER (), histogram(phase)
        FROM requests LEFT JOIN causes ON causes.name = cause
            LEFT JOIN outcomes ON outcomes.name = outcome
        GROUP BY outcome, cause
        ORDER BY outcome <> 'answered', count(*) DESC, outcome, cause
        """
    ).fetchall()
    return [Ending(*row) for row in rows]


def delays(account: DuckDBPyConnection) -> list[Ending]:
    """The part of the answered requests that was slow, by what took most of their time."""
    rows = account.execute(
        """
        SELECT 'slow', delay_cause, coalesce(any_value(meaning), ''), count(*),
               count(*) / (SELECT count(*) FROM requests), histogram(phase)
        FROM requests LEFT JOIN delay_causes ON delay_causes.name = delay_cause
        WHERE delay_cause <> '' GROUP BY delay_cause ORDER BY count(*) DESC, delay_cause
        """
    ).fetchall()
    return [Ending(*row) for row in rows]


def latencies(account: DuckDBPyConnection) -> list[Latencies]:
    """All requests, then each class of them, before, during and after the faults."""
    rows = account.execute(
        f"""
        SELECT coalesce(class, 'all'), phase, count(*), count(latency_s), {RANKED}
        FROM requests JOIN phases ON phases.name = phase
        WHERE list_contains($names, phase)
        GROUP BY GROUPING SETS ((phase), (class, phase))
        ORDER BY class IS NOT NULL, class DESC, any_value(phases.began)
        """,
        {"names": list(COMPARED)},
    ).fetchall()
    return [Latencies(*row) for row in rows]


def answers(account: DuckDBPyConnection) -> list[Answers]:
    """The whole answers of each instance, by name."""
    rows = account.execute(
        """
        SELECT coalesce(instance, ''), count(*), count(*) / sum(count(*)) OVER (), histogram(phase)
        FROM requests WHERE latency_s IS NOT NULL GROUP BY 1 ORDER BY 1
        """
    ).fetchall()
    return [Answers(*row) for row in rows]
