"""Which requests of a run are worth reading in full."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from duckdb import DuckDBPyConnection

from bulkhead.judge.verdict import DECIDING, Verdict

EACH = 5
MOST = 200


@dataclass(frozen=True)
class Group:
    """Requests that show the same thing; tables link to it by the page's fragment `anchor`."""

    anchor: str
    title: str
    ids: Sequence[str]


def groups(account: DuckDBPyConnection, verdict: Verdict) -> list[Group]:
    """Requests that broke a check first, then one for each cause, then survivors."""
    kept, room = [], MOST
    for group in (*_of_checks(account, verdict), *_of_causes(account), *_notable(account)):
        if group.ids and room > 0:
            kept.append(replace(group, ids=group.ids[:room]))
            room -= len(group.ids)
    return kept


def _of_checks(account: DuckDBPyConnection, verdict: Verdict) -> Iterator[Group]:
    """Failed checks, then unmeasured ones, each under its number.

    A check may name what is no request of a client, such as an entry: that has no story.
    """
    for ruling in DECIDING:
        for number, check in enumerate(verdict.checks):
            if check.verdict == ruling:
                query = "SELECT id FROM requests WHERE list_contains($ids, id)"
                rows = account.execute(query, {"ids": list(check.examples)}).fetchall()
                ids = [one for one in dict.fromkeys(check.examples) if (one,) in rows]
                yield Group(f"check-{number}", f"{ruling}: {check.name}", ids[:EACH])


def _of_causes(account: DuckDBPyConnection) -> Iterator[Group]:
    for column, anchor, title, order in (
        ("cause", "cause", "Cause", "planned"),
        ("delay_cause", "delay", "Slow:", "latency_s DESC"),
    ):
        rows = account.execute(
            f"""
            SELECT {column}, list(id ORDER BY {order})[:{EACH}] FROM requests
            WHERE {column} <> '' GROUP BY {column} ORDER BY count(*) DESC, {column}
            """
        ).fetchall()
        for cause, ids in rows:
            yield Group(f"{anchor}-{cause}", f"{title} {cause}", ids)


def _notable(account: DuckDBPyConnection) -> Iterator[Group]:
    for anchor, title, where, order in (
        ("slowest", "The slowest answers", "outcome = 'answered'", "latency_s DESC"),
        ("moved", "Retried on another instance and answered", "outcome = 'answered' AND retried",
         "attempts DESC, planned"),
        ("replayed", "Executed again and answered from the stored response",
         "outcome = 'answered' AND replays > 0", "planned"),
        ("twice", "With more than one effect", "effects > 1", "planned"),
    ):  # fmt: skip
        rows = account.execute(
            f"SELECT id FROM requests WHERE {where} ORDER BY {order} LIMIT {EACH}"
        ).fetchall()
        yield Group(anchor, title, [id for (id,) in rows])
