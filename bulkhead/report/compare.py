"""Runs side by side: a row for each figure, a column for each run, each against the first.

Runs of the same drill on the same code and configuration are one series. A series of several runs
gets a column of its own with the medians: one run may be lucky.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median_low
from typing import Any

from bulkhead.errors import UsageError
from bulkhead.report import documents
from bulkhead.report.columns import plain, table
from bulkhead.report.documents import Documents, Values
from bulkhead.rundir import RunDir

Figure = float | int | None


@dataclass(frozen=True)
class Column:
    """One run, or the medians of a series."""

    run: str
    """The folder's name; '' for medians."""
    drill: str
    series: int
    """Counted from 1, in the order of the runs."""
    runs: int
    """How many this column speaks for."""
    verdict: str
    """That of the run; for medians each that occurred."""
    figures: dict[str, Figure]
    ratios: dict[str, float | None]
    """Each figure as a multiple of the first column's; None where there is no such thing."""


def compare(runs: Sequence[RunDir]) -> str:
    """The comparison for a terminal, a line break at its end.

    Raises:
        EvidenceError: a folder lacks drill.json, run.json or verdict.json.
        UsageError: there is no run.
    """
    columns = _columns(runs)
    numbered = [f"{number}: {_name(column)}" for number, column in enumerate(columns, 1)]
    blank = [""] * len(columns)
    rows = [
        _cells("figure", [str(number) for number in range(1, len(columns) + 1)], blank),
        _cells("verdict", [column.verdict for column in columns], blank),
    ]
    for name in _names(columns):
        values = [_shown(column.figures.get(name)) for column in columns]
        rows.append(_cells(name, values, [_ratio(column.ratios.get(name)) for column in columns]))
    return "\n".join([*map(plain, numbered), "", *table(rows)]) + "\n"


def as_dict(runs: Sequence[RunDir]) -> dict[str, Any]:
    """The same for a program: `{"columns": [...]}`, the first column being what ratios refer to."""
    return {"columns": [asdict(column) for column in _columns(runs)]}


def _columns(runs: Sequence[RunDir]) -> list[Column]:
    if not runs:
        raise UsageError("compare: name at least one run folder")
    found = [documents.read(run) for run in runs]
    first = found[0].verdict.figures
    series: dict[str, list[Column]] = {}
    for run, one in zip(runs, found, strict=True):
        key, figures = _series(one), one.verdict.figures
        mine = series.setdefault(key, [])
        place = (run.path.name, str(one.drill.get("name", "")), list(series).index(key) + 1, 1)
        mine.append(Column(*place, one.verdict.verdict, figures, _ratios(figures, first)))
    return [
        column
        for mine in series.values()
        for column in (*mine, *([_medians(mine, first)] if len(mine) > 1 else []))
    ]


def _series(found: Documents) -> str:
    """The parts that two repetitions of a run share: all but seed and place."""
    configuration = {**found.provenance.get("configuration", {}), "stack": None}
    drill: Values = {**found.drill, "seed": None}
    return json.dumps([drill, configuration, found.provenance.get("git")], sort_keys=True)


def _medians(columns: Sequence[Column], first: dict[str, Figure]) -> Column:
    figures: dict[str, Figure] = {}
    for name in _names(columns):
        values = [v for column in columns if (v := column.figures.get(name)) is not None]
        figures[name] = median_low(values) if values else None
    verdicts = ", ".join(dict.fromkeys(column.verdict for column in columns))
    drill, series = columns[0].drill, columns[0].series
    return Column("", drill, series, len(columns), verdicts, figures, _ratios(figures, first))


def _ratios(figures: dict[str, Figure], first: dict[str, Figure]) -> dict[str, float | None]:
    return {
        name: value / base if value is not None and (base := first.get(name)) else None
        for name, value in figures.items()
    }


def _names(columns: Sequence[Column]) -> list[str]:
    return list(dict.fromkeys(name for column in columns for name in column.figures))


def _name(column: Column) -> str:
    return f"{column.run or f'medians of {column.runs} runs'} ({column.drill})"


def _cells(name: str, values: Sequence[str], ratios: Sequence[str]) -> list[str]:
    """A row: the first column is what the others are compared with, so it has no ratio."""
    cells = [cell for pair in zip(values, ratios, strict=True) for cell in pair]
    return [name, cells[0], *cells[2:]]


def _shown(value: Figure) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"x{value:.2f}"
