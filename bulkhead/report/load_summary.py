"""The summary of a load, from its account: as text for a terminal and as values for a program.

Outcomes, causes, and what is acknowledged, lost or doubled are those of a drill.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from bulkhead.judge import rules
from bulkhead.judge.case import Case, Row
from bulkhead.judge.expect import Expect
from bulkhead.judge.figures import COUNTED
from bulkhead.report import tables
from bulkhead.report.columns import GREEN, RED, offset, paint, share, table
from bulkhead.report.html import environment
from bulkhead.report.tables import QUANTILES, RANKED

BAR_WIDTH = 30


@dataclass(frozen=True)
class Load:
    """All that is said of a load: the figures of summary.json, and how many rows were lost.

    Times are in seconds, shares from 0 to 1. `cut` are the lines that a full disk has cut short,
    and the rows that it did not take.
    """

    figures: Row
    cut: int

    @property
    def failed(self) -> bool:
        """Whether anything failed, was lost, was done twice, or is not known."""
        every, writes = self.figures["all"], self.figures["writes"]
        wrong = (every["failed"], every["indeterminate"], writes["lost"], writes["doubled"])
        return any(wrong) or bool(self.figures["proxy"]["unknown"] or self.cut)


def load_of(account: DuckDBPyConnection, with_rows: bool) -> Load:
    """Ask the account of a load. `with_rows` is whether the stack writes rows (stack.rows)."""
    case = Case(account, Expect(), 0)
    names = {row.pop("whose"): row for row in case.records(_GROUPS)}
    for group in names.values():
        group["latency"] = dict(zip(QUANTILES, group.pop("quantiles"), strict=True))
    every = names.pop("")
    span = case.one("SELECT coalesce(max(done) - min(planned), 0) FROM requests")
    figures: Row = {
        "all": every,
        "names": names,
        "active_s": span,  # from the first planned start to the last end of a request
        "requests_per_s": every["requests"] / span if span else 0.0,
        "answered_per_s": every["answered"] / span if span else 0.0,
        "causes": case.records(_CAUSES),
        "instances": {
            one["instance"]: {"answers": one["count"], "share": one["share"]}
            for one in tables.answers(account)
        },
        # `unknown` are whole answers without a row of the proxy.
        "proxy": case.records(_PROXY)[0] | {"unknown": case.column(_UNKNOWN) if with_rows else []},
        "writes": {
            "acknowledged": case.one("SELECT count(*) FROM client WHERE acknowledged"),
            "applied": case.one("SELECT count(*) FROM effects"),  # no matter whose
        },
    }
    for figure in ("lost", "doubled", "unacknowledged"):
        # Each of these rules asks one question.
        (figures["writes"][figure],) = rules.QUESTIONS[COUNTED[figure]].ids(case).values()
    return Load(figures, int(case.one("SELECT coalesce(sum(rows), 0) FROM lost_rows")))


# A group for each name (`GET /api/v1/entries/{id}`), and one for all under "". `stopped` are the
# reads that the end of the load cut off: they say nothing about the stack, and did not fail.
_GROUPS = f"""
    SELECT coalesce(name, '') AS whose, count(*) AS requests,
        count(*) FILTER (outcome = 'answered') AS answered,
        count(*) FILTER (outcome = 'failed' AND cause <> 'client_stopped') AS failed,
        count(*) FILTER (outcome = 'indeterminate') AS indeterminate,
        count(*) FILTER (outcome = 'failed' AND cause = 'client_stopped') AS stopped,
        {RANKED} AS quantiles
    FROM requests GROUP BY GROUPING SETS ((), (name)) ORDER BY name
"""

# Each with the id of one of its requests, and the evidence about that in short.
_CAUSES = """
    SELECT outcome, cause, coalesce(any_value(meaning), '') AS meaning, count(*) AS count,
        arg_min(id, planned) AS example, arg_min(detail, planned) AS evidence
    FROM requests LEFT JOIN causes ON causes.name = cause
    WHERE outcome <> 'answered' AND NOT (outcome = 'failed' AND cause = 'client_stopped')
    GROUP BY outcome, cause ORDER BY count(*) DESC, outcome, cause
"""
_PROXY = """
    SELECT count(*) FILTER (proxy_rows > 0) AS logged, count(*) FILTER (retried) AS retried
    FROM requests
"""
_UNKNOWN = "SELECT id FROM requests WHERE status > 0 AND proxy_rows = 0 ORDER BY planned"


def text(load: Load, colour: bool = False) -> str:
    """The whole report, a line break at its end; `colour` marks good and bad with ANSI codes."""
    page = environment()
    page.filters["painted"] = lambda words, bad: paint(words, RED if bad else GREEN, colour)
    said = page.get_template("load.txt.j2").render(
        load.figures,
        cut=load.cut,
        by_name=_by_name(load.figures),
        by_cause=_by_cause(load.figures["causes"]),
        by_instance=_by_instance(load.figures["instances"]),
    )
    return f"{said}\n"


def _by_name(figures: Row) -> str:
    counts = ("requests", "failed", "indeterminate")
    rows = [
        (name, *(f"{one[count]:,}" for count in counts), *map(offset, one["latency"].values()))
        for name, one in (*figures["names"].items(), ("all", figures["all"]))
    ]
    return "\n".join(table([("name", *counts, *(f"{q} ms" for q in QUANTILES)), *rows]))


def _by_cause(causes: Sequence[Row]) -> str:
    """Why requests were not answered, each cause with a request to look at."""
    rows = [(one["outcome"], one["cause"], f"{one['count']:,}", one["meaning"]) for one in causes]
    head, *lines = table([("outcome", "cause", "requests", "meaning"), *rows], left=(0, 1, 3))
    said = (f"  such as {one['example']}: {one['evidence']}" for one in causes)
    return "\n".join([head, *(each for pair in zip(lines, said, strict=True) for each in pair)])


def _by_instance(instances: Row) -> str:
    rows = [("instance", "answers", "share", "")]
    for name, one in instances.items():
        bar = "#" * round(one["share"] * BAR_WIDTH)
        rows.append((name or "(none named)", f"{one['answers']:,}", share(one["share"]), bar))
    return "\n".join(table(rows, left=(0, 3)))
