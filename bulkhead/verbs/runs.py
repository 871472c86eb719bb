"""judge, report, sql, compare: a run folder, later and elsewhere; no stack is needed."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bulkhead.errors import UsageError
from bulkhead.verbs import common

if TYPE_CHECKING:
    from bulkhead.judge.verdict import Verdict
    from bulkhead.rundir import RunDir

# How much of a table a terminal is given.
WIDE, MANY = 10_000, 10_000


def add(verb: common.Add) -> None:
    """Add these verbs to the command."""
    judge = verb("judge", _judge, "judge a run again, from its rows")
    judge.add_argument("run", type=Path, help="a run folder, such as var/runs/TIME-steady")
    judge.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML, for a CI")
    judge.add_argument("--json", action="store_true", help="print the verdict for programs")
    report = verb("report", _report, "write a run's report.html again, and say where it is")
    report.add_argument("run", type=Path, help="a run folder")
    report.add_argument("--request", metavar="ID", help="tell one request's story instead")
    sql = verb("sql", _sql, "ask a run's account in SQL; docs/account.md lists its tables")
    sql.add_argument("run", type=Path, help="a run folder")
    sql.add_argument("query", help='such as "select cause, count(*) from requests group by cause"')
    sql.add_argument("--json", action="store_true", help="one JSON object a row")
    compare = verb("compare", _compare, "the figures of several runs side by side")
    compare.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders")
    compare.add_argument("--json", action="store_true", help="for programs")


def _judge(arguments: argparse.Namespace) -> int:
    from bulkhead.drill.judged import judged
    from bulkhead.report.junit import junit

    run = _folder(arguments.run)
    verdict = judged(run)
    if arguments.junit:
        arguments.junit.write_text(junit([(run.path.name, verdict, 0.0)]))
    if arguments.json:
        print(json.dumps(verdict.as_dict(), indent=2))
    else:
        show(run, verdict)
    return verdict.code


def show(run: "RunDir", verdict: "Verdict") -> None:
    """Print a verdict for a person."""
    from bulkhead.accounting import account
    from bulkhead.report.verdict import text

    with account.opened(run) as rows:
        print(text(verdict, rows, run, common.colour()), end="")


def _report(arguments: argparse.Namespace) -> int:
    from bulkhead.drill.judged import judged
    from bulkhead.report import html

    run = _folder(arguments.run)
    if arguments.request:
        return _story(run, arguments.request)
    if not run.verdict_json.exists():
        judged(run)
    print(html.write(run))
    return 0


def _story(run: "RunDir", request: str) -> int:
    from bulkhead.accounting import account
    from bulkhead.report.story import text

    with account.opened(run) as rows:
        print(text(rows, request, common.colour()), end="")
    return 0


def _sql(arguments: argparse.Namespace) -> int:
    import duckdb

    from bulkhead.accounting import account

    with account.opened(_folder(arguments.run)) as rows:
        try:
            # None when the query is no question, such as SET.
            found = cast("duckdb.DuckDBPyRelation | None", rows.sql(arguments.query))
            if found is not None and arguments.json:
                for row in found.fetchall():
                    print(json.dumps(dict(zip(found.columns, row, strict=True)), default=str))
            elif found is not None:
                found.show(max_width=WIDE, max_rows=MANY)
        except duckdb.Error as error:
            raise UsageError(*f"sql: {error}".splitlines()) from None
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from bulkhead.report import compare

    runs = [_folder(path) for path in arguments.runs]
    if arguments.json:
        print(json.dumps(compare.as_dict(runs), indent=2))
    else:
        print(compare.compare(runs), end="")
    return 0


def _folder(path: Path) -> "RunDir":
    """The run folder that was named.

    Raises:
        UsageError: there is none.
    """
    from bulkhead.rundir import RunDir

    run = RunDir(path)
    if not run.drill_json.exists():
        raise UsageError(f"{path}: is not the run folder of a drill: it has no drill.json")
    return run
