"""The tables of a run, from its account: how requests ended, how long they took, who answered.

A share is one of all, 0 to 1; `by_phase` is the count in each phase that has any.
"""

from duckdb import DuckDBPyConnection

from bulkhead.judge.case import Row, records

QUANTILES = ("p50", "p90", "p99", "p99.9", "max")
# SQL: the quantiles of some requests, each NULL where none was answered. The ranks are decimals:
# 0.999 as a binary fraction times n may land on the wrong side of a rank.
RANKED = """coalesce(quantile_disc(latency_s, [0.5::DECIMAL(4,3), 0.9::DECIMAL(4,3),
    0.99::DECIMAL(4,3), 0.999::DECIMAL(4,3), 1]), list_resize([]::DOUBLE[], 5))"""
COMPARED = {"baseline": "before", "faults": "during", "recovery": "after"}


def phases(account: DuckDBPyConnection) -> tuple[str, ...]:
    """The names of the phases that lasted, in their order."""
    rows = account.execute("SELECT name FROM phases WHERE ended > began ORDER BY began").fetchall()
    return tuple(name for (name,) in rows)


def endings(account: DuckDBPyConnection) -> list[Row]:
    """Every outcome with every cause that occurred: answered first, then most frequent first."""
    return records(
        account,
        """
        SELECT outcome, cause, any_value(coalesce(causes.meaning, outcomes.meaning, ''))
            AS meaning, count(*) AS count, count(*) / sum(count(*)) OVER () AS share,
            histogram(phase) AS by_phase
        FROM requests LEFT JOIN causes ON causes.name = cause
            LEFT JOIN outcomes ON outcomes.name = outcome
        GROUP BY outcome, cause
        ORDER BY outcome <> 'answered', count(*) DESC, outcome, cause
        """,
    )


def delays(account: DuckDBPyConnection) -> list[Row]:
    """The part of the answered requests that was slow, by what took most of their time.

    The rows are those of `endings`, with the outcome `slow`.
    """
    return records(
        account,
        """
        SELECT 'slow' AS outcome, delay_cause AS cause, coalesce(any_value(meaning), '')
            AS meaning, count(*) AS count,
            count(*) / (SELECT count(*) FROM requests) AS share, histogram(phase) AS by_phase
        FROM requests LEFT JOIN delay_causes ON delay_causes.name = delay_cause
        WHERE delay_cause <> '' GROUP BY delay_cause ORDER BY count(*) DESC, delay_cause
        """,
    )


def latencies(account: DuckDBPyConnection) -> list[Row]:
    """All requests, then each class (`kind`) of them, before, during and after the faults.

    Only whole answers have a latency, whatever their status; `answered` counts them. `quantiles`
    are seconds from planned start to last byte, by nearest rank, in the order of QUANTILES.
    """
    return records(
        account,
        f"""
        SELECT coalesce(class, 'all') AS kind, phase, count(*) AS requests,
            count(latency_s) AS answered, {RANKED} AS quantiles
        FROM requests JOIN phases ON phases.name = phase
        WHERE list_contains($names, phase)
        GROUP BY GROUPING SETS ((phase), (class, phase))
        ORDER BY class IS NOT NULL, class DESC, any_value(phases.began)
        """,
        {"names": list(COMPARED)},
    )


def answers(account: DuckDBPyConnection) -> list[Row]:
    """The whole answers of each instance, by name: `proxy` is nginx itself, `` nobody known."""
    return records(
        account,
        """
        SELECT coalesce(requests.instance, '') AS instance, count(*) AS count,
            count(*) / sum(count(*)) OVER () AS share, histogram(phase) AS by_phase
        FROM requests WHERE latency_s IS NOT NULL GROUP BY 1 ORDER BY 1
        """,
    )
