"""The input of a rule, and the Check that is made of it.

Most rules are questions to the account: `sql/` has them, in the order in which they are checked.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, Literal

from duckdb import DuckDBPyConnection

from bulkhead.judge.expect import Expect
from bulkhead.judge.verdict import Check

EXAMPLES = 20
UNKNOWN = "unknown"
Row = dict[str, Any]

# Values that every query knows by name, as `$stall`; times are in seconds.
VALUES: dict[str, Any] = {
    "probe": "readiness-probe",
    # Where the ledger of the load is. Requests to it and answers of it have values.
    "ledger": "/api/v1/entries",
    # CLOCK_MONOTONIC is one for all processes of a host. nginx has only the wall clock, which may
    # be corrected during a run, and notes when it last looked at it.
    "service_clock": 0.005,
    "proxy_clock": 0.5,
    # Of several hosts each has a clock of its own; theirs are known as well as this, or not at all.
    "host_clock": 0.1,
    # nginx rounds its times to milliseconds, each attempt's for itself.
    "rounded": 0.1,
    # nginx, an observer or a service may be this late with a row, and no later: its machine stands.
    "stall": 1.0,
    "boot": 5.0,  # a gunicorn's worker is ready long before that
    # Events are written by several threads; one says "since when" it knows of up to a second ago.
    "lines": 1.5,
    # A process that lives on for so long has either answered a request or forgotten it.
    "working": 5.0,
    # nginx logs a request after it has sent the answer. A worker that is frozen and killed between
    # the two leaves an answer without a row; the client may have seen it this much before or after.
    "worker_faults": ["nginx_worker", "kill_everything"],
    "slack": 0.5,
    # A second of the recovery is good when so much of what was planned in it was answered so soon.
    "good_share": 0.95,
    "good_s": 1,
    "late_end": 0.01,  # an end of an execution is written down so much later than its answer
}


@dataclass(frozen=True)
class Case:
    """The run's account, what its drill expects of it, and what it planned.

    That is how many injections, and how many seconds each phase was to last; a phase that is not
    named may last as long as it did.
    """

    account: DuckDBPyConnection
    expect: Expect
    planned: int
    phases: Mapping[str, float] = field(default_factory=dict)

    def rows(self, sql: str, **values: object) -> list[Any]:
        """The rows of a query."""
        return self.account.execute(sql, _used(sql, values)).fetchall()

    def records(self, sql: str, **values: object) -> list[Row]:
        """The rows of a query, each by the names of its columns."""
        return records(self.account, sql, _used(sql, values))

    def column(self, sql: str, **values: object) -> list[Any]:
        """The first column of a query."""
        return [row[0] for row in self.rows(sql, **values)]

    def one(self, sql: str, **values: object) -> Any:
        """The one value of a query."""
        return self.rows(sql, **values)[0][0]


def _used(sql: str, values: Mapping[str, object]) -> dict[str, object]:
    """The values that a query names."""
    known = {**VALUES, **values}
    return {name: known[name] for name in re.findall(r"\$(\w+)", sql)}


def records(database: DuckDBPyConnection, sql: str, values: object = None) -> list[Row]:
    """The rows of a query, each by the names of its columns."""
    found = database.execute(sql, values)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


# A rule is violated when the `count` of its check is above 0. The check decides nothing, and has no
# name, until it is known what breaking the rule means (`apply`).
Rule = Callable[[Case], Check]
Rules = Mapping[str, Rule]


@dataclass(frozen=True)
class Questions:
    """A rule that asks: each question has words, and SQL that gives the id of what offends."""

    figure: str
    queries: Mapping[str, str]

    def __call__(self, case: Case) -> Check:
        """Ask all of them."""
        return self.finding(self.ids(case))

    def ids(self, case: Case) -> dict[str, list[str]]:
        """The ids of what offends, by the words of the question."""
        return {words: case.column(sql) for words, sql in self.queries.items()}

    def finding(self, ids: Mapping[str, Sequence[str]]) -> Check:
        """The finding when these offend."""
        said = ", ".join(f"{len(those)} {words}" for words, those in ids.items() if those)
        every = [one for those in ids.values() for one in sorted(map(str, those))]
        figure, examples = f"{len(every)} {self.figure}", tuple(every[:EXAMPLES])
        return Check("", "INFO", figure, "none", said, len(every), examples)


def read(name: str) -> tuple[dict[str, Questions], dict[str, str]]:
    """The rules and the other queries of `sql/NAME.sql`, by their names.

    `-- rule NAME: WORDS` begins a rule. Its query follows, or several, each after a line
    `-- question: WORDS`. `-- query NAME` begins a query that belongs to no rule.
    """
    text = files("bulkhead.judge").joinpath("sql", f"{name}.sql").read_text()
    rules: dict[str, Questions] = {}
    queries: dict[str, str] = {}
    for part in re.split(r"^-- (?=rule |query )", text, flags=re.MULTILINE)[1:]:
        head, _, sql = part.partition("\n")
        kind, _, title = head.partition(" ")
        if kind == "query":
            queries[title] = sql
        else:
            rule, _, words = title.partition(": ")
            _, *asked = re.split(r"^-- question: (.*)\n", sql, flags=re.MULTILINE)
            several = dict(zip(asked[::2], asked[1::2], strict=True))
            rules[rule] = Questions(words, several or {words: sql})
    return rules, queries


def problems(figure: str, found: Sequence[str], bound: str, examples: Sequence[str] = ()) -> Check:
    """Sentences about a run, each of which breaks the rule."""
    some = tuple(examples[:EXAMPLES])
    return Check("", "INFO", figure, bound, "; ".join(found), len(found), some)


def apply(name: str, rule: Rule, case: Case, broken: Literal["FAIL", "INVALID", "INFO"]) -> Check:
    """Check one rule, where breaking it means `broken`.

    A rule that raises has found nothing out, and that is never a pass.
    """
    try:
        found = rule(case)
    except Exception as error:
        return unknown(name, error)
    decided = broken if found.count or broken == "INFO" else "PASS"
    return replace(found, name=name, verdict=decided)


def unknown(name: str, error: Exception) -> Check:
    """The check that broke before it knew anything."""
    said = str(error).partition("\n")[0]
    return Check(name, "INVALID", UNKNOWN, "", f"could not be checked: {said}", 1)
