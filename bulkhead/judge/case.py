"""What a rule is given, what it gives back, and how that becomes a Check whatever happens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from duckdb import DuckDBPyConnection

from bulkhead.judge.expect import Expect
from bulkhead.judge.verdict import Check

EXAMPLES = 20
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Case:
    """The run's account, what its drill expects of it, and how many injections it planned."""

    account: DuckDBPyConnection
    expect: Expect
    planned: int

    def rows(self, sql: str, **values: object) -> list[Any]:
        """The rows of a query."""
        return self.account.execute(sql, values).fetchall()

    def column(self, sql: str, **values: object) -> list[Any]:
        """The first column of a query."""
        return [row[0] for row in self.rows(sql, **values)]

    def one(self, sql: str, **values: object) -> Any:
        """The one value of a query."""
        return self.rows(sql, **values)[0][0]


@dataclass(frozen=True)
class Finding:
    """What a rule found. It is broken when it offends: `count` above 0."""

    figure: str
    message: str = ""
    count: int = 0
    examples: tuple[str, ...] = ()
    bound: str = "none"


Rule = Callable[[Case], Finding]


def offenders(ids: Sequence[str], words: str) -> Finding:
    """`3 writes lost`: the figure, and with any of them also the message."""
    said = f"{len(ids)} {words}"
    return Finding(said, said if ids else "", len(ids), tuple(ids[:EXAMPLES]))


def problems(
    figure: str, found: Sequence[str], bound: str, examples: Sequence[str] = ()
) -> Finding:
    """Sentences about a run, each of which breaks the rule."""
    return Finding(figure, "; ".join(found), len(found), tuple(examples[:EXAMPLES]), bound)


def apply(rule: Rule, case: Case, broken: Literal["FAIL", "INVALID", "INFO"]) -> Check:
    """Check one rule, where breaking it means `broken`.

    A rule that raises has found nothing out, and that is never a pass.
    """
    name = rule.__name__
    try:
        found = rule(case)
    except Exception as error:
        return unknown(name, error)
    verdict = broken if found.count or broken == "INFO" else "PASS"
    return Check(
        name, verdict, found.figure, found.bound, found.message, found.count, found.examples
    )


def unknown(name: str, error: Exception) -> Check:
    """The check that broke before it knew anything."""
    said = str(error).partition("\n")[0]
    return Check(name, "INVALID", UNKNOWN, "", f"could not be checked: {said}", 1)
