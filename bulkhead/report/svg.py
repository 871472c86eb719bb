"""Path data of the charts. One unit of x is a bucket; the page stretches it to its own width."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from bulkhead.report.timeline import ROWS, Cell

LEVELS = 6
FEW = 50


def area(values: Sequence[int], top: int) -> str:
    """The filled steps of `values`, standing on y = top."""
    return f"M0 {top}{_steps(values, top)}V{top}Z" if any(values) else ""


def line(values: Sequence[int], top: int) -> str:
    """The steps of `values` as a line."""
    return f"M0 {top - values[0]}{_steps(values, top)}" if values else ""


def _steps(values: Sequence[int], top: int) -> str:
    """One step for each change only: a path is a good part of the page's size."""
    path, last = [], None
    for x, value in enumerate(values):
        if value != last:
            path.append(f"{f'H{x}' if x else ''}V{top - value}")
            last = value
    return "".join(path) + f"H{len(values)}"


def stems(values: Sequence[int], top: int, below: Sequence[int] | None = None) -> str:
    """A vertical line for each value, on top of `below`: its width is the style's, so that a
    single bucket of a long run can be seen."""
    under = below or [0] * len(values)
    return "".join(f"M{x}.5 {top - under[x]}v{-value}" for x, value in enumerate(values) if value)


def heat(cells: Iterable[Cell]) -> list[str]:
    """A path for each level of density, the thinnest first; the scale is logarithmic."""
    cells = list(cells)
    most = max((cell.count for cell in cells), default=1)
    runs: dict[int, list[str]] = defaultdict(list)
    start: tuple[int, int, int] | None = None  # (level, row, x) of the run that is being drawn
    end = 0
    for cell in cells:  # by row, then by bucket: equal neighbours are one rectangle
        level = 1 + math.floor(LEVELS * math.log(cell.count) / math.log1p(most))
        if start and (level, cell.row, cell.bucket) == (start[0], start[1], end):
            end += 1
            continue
        if start:
            runs[start[0]].append(_rectangle(start, end))
        start, end = (level, cell.row, cell.bucket), cell.bucket + 1
    if start:
        runs[start[0]].append(_rectangle(start, end))
    return ["".join(runs[level]) for level in range(1, LEVELS + 1)]


def _rectangle(start: tuple[int, int, int], end: int) -> str:
    _, row, x = start
    return f"M{x} {ROWS - 1 - row}h{end - x}v1h-{end - x}z"


def unanswered(cells: Iterable[Cell]) -> str:
    """A point in each cell that has a request without an answer; the style gives it its size."""
    return _dots(cell for cell in cells if cell.not_answered)


def rare(cells: Iterable[Cell]) -> str:
    """A point in each cell of a latency that few requests had: a cell alone is hardly seen."""
    cells = list(cells)
    totals: Counter[int] = Counter()
    for cell in cells:
        totals[cell.row] += cell.count
    return _dots(cell for cell in cells if totals[cell.row] <= FEW)


def _dots(cells: Iterable[Cell]) -> str:
    return "".join(f"M{cell.bucket}.5 {ROWS - 1 - cell.row}.5h0" for cell in cells)
