"""Runs side by side: a row for each figure, a column for each run, each against the first.

Runs of the same drill on the same code and configuration are one series. A series of several runs
gets a column of its own with the medians: one run may be lucky.
"""

import json
from collections.abc import Sequence
from statistics import median_low

from bulkhead.errors import UsageError
from bulkhead.judge.case import Row
from bulkhead.judge.verdict import documents
from bulkhead.report.columns import plain, table
from bulkhead.rundir import RunDir

Figure = float | int | None


def compare(runs: Sequence[RunDir]) -> str:
    """The comparison for a terminal, a line break at its end.

    EvidenceError if a folder lacks drill.json, run.json or verdict.json. UsageError if there is no
    run.
    """
    columns = as_dict(runs)["columns"]
    names = [column["run"] or f"medians of {column['runs']} runs" for column in columns]
    lines = [
        plain(f"{number}: {name} ({column['drill']})")
        for number, (name, column) in enumerate(zip(names, columns, strict=True), 1)
    ]
    blank = [""] * len(columns)
    rows = [
        _cells("figure", [str(number) for number in range(1, len(columns) + 1)], blank),
        _cells("verdict", [column["verdict"] for column in columns], blank),
    ]
    for name in _figures(columns):
        values = [_shown(column["figures"].get(name)) for column in columns]
        ratios = [column["ratios"].get(name) for column in columns]
        rows.append(_cells(name, values, ["" if x is None else f"x{x:.2f}" for x in ratios]))
    return "\n".join([*lines, "", *table(rows)]) + "\n"


def as_dict(runs: Sequence[RunDir]) -> Row:
    """The same for a program: `{"columns": [...]}`, each of one run or of the medians of several.

    `run` is the folder's name, "" for medians; `series` counts from 1 in the order of the runs;
    `runs` is how many the column speaks for, and `verdict` each that occurred in them. `ratios` are
    the figures as multiples of the first column's, None where there is no such thing.
    """
    if not runs:
        raise UsageError("compare: name at least one run folder")
    series: dict[str, list[Row]] = {}
    for run, (drill, facts, verdict) in [(run, documents(run)) for run in runs]:
        # The parts that two repetitions of a run share: all but seed and place.
        configuration = {**facts.get("configuration", {}), "stack": None}
        same = [{**drill, "seed": None}, configuration, facts.get("git")]
        key = json.dumps(same, sort_keys=True)
        mine = series.setdefault(key, [])
        mine.append(
            {
                "run": run.path.name,
                "drill": str(drill.get("name", "")),
                "series": list(series).index(key) + 1,
                "runs": 1,
                "verdict": verdict.verdict,
                "figures": verdict.figures,
            }
        )
    columns: list[Row] = []
    for mine in series.values():
        columns += [*mine, _medians(mine)] if len(mine) > 1 else mine
    first = columns[0]["figures"]
    for column in columns:
        column["ratios"] = {
            name: value / base if value is not None and (base := first.get(name)) else None
            for name, value in column["figures"].items()
        }
    return {"columns": columns}


def _medians(columns: Sequence[Row]) -> Row:
    figures: dict[str, Figure] = {}
    for name in _figures(columns):
        values = [v for column in columns if (v := column["figures"].get(name)) is not None]
        figures[name] = median_low(values) if values else None
    verdicts = ", ".join(dict.fromkeys(column["verdict"] for column in columns))
    own = {"run": "", "runs": len(columns), "verdict": verdicts, "figures": figures}
    return {**columns[0], **own}


def _figures(columns: Sequence[Row]) -> list[str]:
    """The names of all figures of these columns."""
    return list(dict.fromkeys(name for column in columns for name in column["figures"]))


def _cells(name: str, values: Sequence[str], ratios: Sequence[str]) -> list[str]:
    """A row: the first column is what the others are compared with, so it has no ratio."""
    cells = [cell for pair in zip(values, ratios, strict=True) for cell in pair]
    return [name, cells[0], *cells[2:]]


def _shown(value: Figure) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
