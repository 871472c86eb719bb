"""Runs side by side: a row for each figure, a column for each run, each against the first.

Runs of the same drill on the same code and configuration are one series. A series of several runs
gets a column of its own with the medians: one run may be lucky.
"""

import json
from collections.abc import Iterator, Sequence
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
    heads = ["figure"]
    for number in range(1, len(columns) + 1):
        heads += [str(number), ""] if number > 1 else [str(number)]
    rows = [heads, _cells("verdict", [column.verdict for column in columns])]
    for name in _names(columns):
        values = [_shown(column.figures.get(name)) for column in columns]
        ratios = [_ratio(column.ratios.get(name)) for column in columns]
        rows.append(_cells(name, values, ratios))
    return "\n".join([*map(plain, numbered), "", *table(rows)]) + "\n"


def as_dict(runs: Sequence[RunDir]) -> dict[str, Any]:
    """The same for a program: `{"columns": [...]}`, the first column being what ratios refer to."""
    return {"columns": [asdict(column) for column in _columns(runs)]}


def _columns(runs: Sequence[RunDir]) -> list[Column]:
    if not runs:
        raise UsageError("compare: name at least one run folder")
    found = [documents.read(run) for run in runs]
    keys = [_series(one) for one in found]
    series = {key: number for number, key in enumerate(dict.fromkeys(keys), 1)}
    first = dict(found[0].verdict.figures)
    columns: list[Column] = []
    for key, number in series.items():
        mine = [(run, one) for run, one, own in zip(runs, found, keys, strict=True) if own == key]
        columns += [_of_run(run, one, number, first) for run, one in mine]
        if len(mine) > 1:
            columns.append(_medians(columns[-len(mine) :], first))
    return columns


def _series(found: Documents) -> str:
    """What must be equal for two runs to be repetitions of each other: all but seed and place."""
    configuration = {**found.provenance.get("configuration", {}), "stack": None}
    drill: Values = {**found.drill, "seed": None}
    return json.dumps([drill, configuration, found.provenance.get("git")], sort_keys=True)


def _of_run(run: RunDir, found: Documents, series: int, first: dict[str, Figure]) -> Column:
    figures = dict(found.verdict.figures)
    name = str(found.drill.get("name", ""))
    verdict = found.verdict.verdict
    return Column(run.path.name, name, series, 1, verdict, figures, _ratios(figures, first))


def _medians(columns: Sequence[Column], first: dict[str, Figure]) -> Column:
    figures: dict[str, Figure] = {}
    for name in _names(columns):
        values = [v for column in columns if (v := column.figures.get(name)) is not None]
        figures[name] = median_low(values) if values else None
    verdicts = ", ".join(dict.fromkeys(column.verdict for column in columns))
    drill, series = columns[0].drill, columns[0].series
    return Column("", drill, series, len(columns), verdicts, figures, _ratios(figures, first))


def _ratios(figures: dict[str, Figure], first: dict[str, Figure]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, value in figures.items():
        base = first.get(name)
        found[name] = value / base if value is not None and base else None
    return found


def _names(columns: Sequence[Column]) -> list[str]:
    return list(dict.fromkeys(name for column in columns for name in column.figures))


def _name(column: Column) -> str:
    if column.run:
        return f"{column.run} ({column.drill})"
    return f"medians of {column.runs} runs ({column.drill})"


def _cells(name: str, values: Sequence[str], ratios: Sequence[str] = ()) -> list[str]:
    """A row: the first column is what the others are compared with, so it has no ratio."""

    def cells() -> Iterator[str]:
        yield name
        for number, value in enumerate(values):
            yield value
            if number:
                yield ratios[number] if ratios else ""

    return list(cells())


def _shown(value: Figure) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"x{value:.2f}"
