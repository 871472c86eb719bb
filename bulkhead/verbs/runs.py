"""judge, report, sql, compare: a run folder, later and elsewhere; no stack is needed."""

import argparse
import json
from dataclasses import asdict
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
    from bulkhead.drill.collect import judged
    from bulkhead.report.junit import junit

    common.require_writable(arguments.junit)
    run = _folder(arguments.run)
    verdict = judged(run)
    if arguments.junit:
        arguments.junit.write_text(junit([(run.path.name, verdict, 0.0)]))
    if arguments.json:
        print(json.dumps(asdict(verdict), indent=2))
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
    from bulkhead.accounting import account
    from bulkhead.drill.collect import judged
    from bulkhead.report import html, story

    if arguments.request is not None:
        with account.opened(_folder(arguments.run, of_drill=False)) as rows:
            print(story.text(rows, arguments.request, common.colour()), end="")
        return 0
    run = _folder(arguments.run)
    if not run.verdict_json.exists():
        judged(run)
    print(html.write(run))
    return 0


def _sql(arguments: argparse.Namespace) -> int:
    import duckdb

    from bulkhead.accounting import account

    with account.opened(_folder(arguments.run, of_drill=False)) as rows:
        try:
            # None when the query is no question, such as SET.
            found = cast("duckdb.DuckDBPyRelation | None", rows.sql(arguments.query))
            if found is not None and arguments.json:
                for row in found.fetchall():
                    print(json.dumps(dict(zip(found.columns, row, strict=True)), default=str))
            elif found is not None:
                found.show(max_width=WIDE, max_rows=MANY)
        except UnicodeEncodeError:
            raise UsageError("sql: the query is not text in UTF-8") from None
        except duckdb.Error as error:
            said = (line.strip() for line in str(error).splitlines())
            # Without the line that only points into the one above it.
            raise UsageError(f"sql: {' '.join(one for one in said if one.strip('^'))}") from None
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from bulkhead.report import compare

    runs = [_folder(path) for path in arguments.runs]
    if arguments.json:
        print(json.dumps(compare.as_dict(runs), indent=2))
    else:
        print(compare.compare(runs), end="")
    return 0


def _folder(path: Path, of_drill: bool = True) -> "RunDir":
    """The run folder that was named, of a drill or also of a load; or UsageError."""
    from bulkhead.rundir import FORMAT, RunDir, format_of

    run = RunDir(path)
    try:
        found = (run.drill_json if of_drill else run.client_rows).is_file()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if not found:
        kind, file = (" of a drill", run.drill_json) if of_drill else ("", run.client_rows)
        raise UsageError(f"{path}: is not the run folder{kind}: it has no {file.name}")
    if (written := format_of(run)) != FORMAT:
        raise UsageError(
            f"{path}: was written in format {written}, and this version reads format {FORMAT}: "
            "use the version that wrote it (git.head in its run.json)"
        )
    return run
