"""Client rows to figures, and figures to tables: printed as text, kept as JSON.

A request that was not answered well counts as one whose answer never came: so a proxy does not look
quick because it is quick to give up. `None` as a time means never.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bulkhead.records import ClientRow
from bulkhead.report import columns

Cell = str | int | float | None


@dataclass(frozen=True)
class Figures:
    """Of the requests planned in a span of time (docs/bench.md).

    `kinds` counts the failed ones by what the client saw: a kind of error, or a status. `rate` are
    good answers per second of the span, `late_ms` is what the load was behind its schedule (p99).
    """

    sent: int
    failed: int
    kinds: dict[str, int]
    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    worst_ms: float | None
    rate: float
    late_ms: float


def figures(rows: Iterable[ClientRow], spans: Sequence[tuple[float, float]]) -> Figures:
    """The figures of the requests planned in any of `spans`, each start (included) and end."""
    chosen = [row for row in rows if any(start <= row.planned < end for start, end in spans)]
    kinds = Counter(failure for row in chosen if (failure := _failure(row)))
    good_ms = sorted(1000 * (row.done - row.planned) for row in chosen if not _failure(row))
    times_ms = good_ms + [math.inf] * kinds.total()
    late = sorted(row.sent - row.planned for row in chosen if row.sent)
    return Figures(
        sent=len(chosen),
        failed=kinds.total(),
        kinds=dict(kinds.most_common()),
        p50_ms=finite(quantile(times_ms, 0.5)),
        p99_ms=finite(quantile(times_ms, 0.99)),
        p999_ms=finite(quantile(times_ms, 0.999)),
        worst_ms=good_ms[-1] if good_ms else None,
        rate=len(good_ms) / sum(end - start for start, end in spans),
        late_ms=1000 * quantile(late, 0.99),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all values do not exceed; never, of none."""
    if not ordered:
        return math.inf
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _failure(row: ClientRow) -> str:
    """Why a request did not succeed, in a word; "" if it did."""
    if row.error:
        return row.error
    if row.wrong:
        return str(row.status) if row.status >= 400 else "wrong answer"
    return ""


def finite(value: float) -> float | None:
    """None is never."""
    return None if math.isinf(value) else value


@dataclass
class Table:
    """Rows of cells under columns; `notes` are whole sentences, `details` what JSON alone keeps."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: list[object] = field(default_factory=list)

    def text(self) -> str:
        """The table for a terminal: words to the left of a column, numbers to the right."""
        words = {
            number
            for number, column in enumerate(zip(*self.rows, strict=True))
            if any(isinstance(cell, str) and cell != "-" for cell in column)
        }
        lines = columns.table([self.columns, *(list(map(shown, row)) for row in self.rows)], words)
        return "\n".join([self.title, *(f"  {line}" for line in lines), *self.notes, ""])

    def markdown(self) -> str:
        """The table for a page of the documentation, to be pasted as it is."""
        rows = [self.columns, ["---"] * len(self.columns), *(map(shown, row) for row in self.rows)]
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([f"**{self.title}**", "", *lines, "", *self.notes, ""])


def shown(cell: Cell) -> str:
    """A cell as a reader wants it: three digits that matter, and no more."""
    if cell is None:
        return "never"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        if abs(cell) >= 100:
            return f"{cell:,.0f}"
        return f"{cell:.1f}" if abs(cell) >= 10 else f"{cell:.2f}"
    return cell
