"""Which requests of a run are worth reading in full."""

from collections.abc import Iterator
from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from bulkhead.judge.verdict import Check, Verdict

EACH = 5
MOST = 200


@dataclass(frozen=True)
class Group:
    """Requests that show the same thing."""

    anchor: str
    """The fragment of the page by which tables link to it."""
    title: str
    ids: tuple[str, ...]


def groups(account: DuckDBPyConnection, verdict: Verdict) -> list[Group]:
    """What broke a check first, then each cause, then what survived against the odds."""
    found = [*_of_checks(account, verdict), *_of_causes(account), *_notable(account)]
    kept, room = [], MOST
    for group in found:
        if group.ids and room > 0:
            kept.append(Group(group.anchor, group.title, group.ids[:room]))
            room -= len(group.ids)
    return kept


def _of_checks(account: DuckDBPyConnection, verdict: Verdict) -> Iterator[Group]:
    """What failed, then what was not measured, each under the number of its check."""
    for ruling in ("FAIL", "INVALID"):
        for number, check in enumerate(verdict.checks):
            if check.verdict == ruling:
                title = f"{ruling}: {check.name}"
                yield Group(f"check-{number}", title, _requests(account, check)[:EACH])


def _requests(account: DuckDBPyConnection, check: Check) -> tuple[str, ...]:
    """A check may name what is no request of a client, such as an entry: that has no story."""
    rows = account.execute(
        "SELECT id FROM requests WHERE list_contains($ids, id)", {"ids": list(check.examples)}
    ).fetchall()
    known = {id for (id,) in rows}
    return tuple(one for one in dict.fromkeys(check.examples) if one in known)


def _of_causes(account: DuckDBPyConnection) -> Iterator[Group]:
    rows = account.execute(
        f"""
        SELECT cause, list(id ORDER BY planned)[:{EACH}] FROM requests WHERE cause <> ''
        GROUP BY cause ORDER BY count(*) DESC, cause
        """
    ).fetchall()
    for cause, ids in rows:
        yield Group(f"cause-{cause}", f"Cause {cause}", tuple(ids))
    rows = account.execute(
        f"""
        SELECT delay_cause, list(id ORDER BY latency_s DESC)[:{EACH}] FROM requests
        WHERE delay_cause <> '' GROUP BY delay_cause ORDER BY count(*) DESC, delay_cause
        """
    ).fetchall()
    for cause, ids in rows:
        yield Group(f"delay-{cause}", f"Slow: {cause}", tuple(ids))


def _notable(account: DuckDBPyConnection) -> Iterator[Group]:
    for anchor, title, where, order in (
        ("slowest", "The slowest answers", "outcome = 'answered'", "latency_s DESC"),
        ("moved", "Moved on to another instance and answered", "outcome = 'answered' AND moved_on",
         "attempts DESC, planned"),
        ("replayed", "Executed again and answered from the stored response",
         "outcome = 'answered' AND replays > 0", "planned"),
        ("twice", "With more than one effect", "effects > 1", "planned"),
    ):  # fmt: skip
        rows = account.execute(
            f"SELECT id FROM requests WHERE {where} ORDER BY {order} LIMIT {EACH}"
        ).fetchall()
        yield Group(anchor, title, tuple(id for (id,) in rows))
