"""The charts of a page: paths, axes, and the values that its script shows.

One unit of x is a bucket; the page stretches a path to its own width.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from bulkhead.judge.case import Row
from bulkhead.report.timeline import (
    DECADES,
    ROWS,
    ROWS_PER_DECADE,
    Cell,
    Lane,
    Timeline,
    round_step,
)

BAD = ("failed", "indeterminate", "not_sent")
LEVELS = 6
FEW = 50
MOST_TICKS = 14


def tracks(lines: Timeline) -> dict[str, list[Row]]:
    """All injections of each fault, in the order in which the faults first came."""
    found: dict[str, list[Row]] = {}
    for one in lines.injections:
        found.setdefault(one["fault"], []).append(one)
    return found


def in_force(lines: Timeline) -> list[tuple[float, float]]:
    """When any fault was in force: overlapping ones as one span, or their colours would add up."""
    found: list[tuple[float, float]] = []
    for one in lines.injections:
        began, ended = one["began"], one["ended"]
        if found and one["in_force"] and began <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ended))
        elif one["in_force"]:
            found.append((began, ended))
    return found


def charts(lines: Timeline) -> dict[str, Any]:
    """Paths, and what the axes need."""
    ended = lines.ended
    bad = [sum(three) for three in zip(*(ended[name] for name in BAD), strict=True)]
    top, bad_top = max(*lines.offered, *ended["answered"], 1), max(*bad, 1)
    below = [0] * lines.axis.buckets
    bars = {}
    for name in BAD:
        bars[name] = stems(ended[name], bad_top, below)
        below = [a + b for a, b in zip(below, ended[name], strict=True)]
    tops = _lane_tops(lines.lanes)
    step = round_step(lines.axis.seconds, MOST_TICKS)
    return {
        "top": top,
        "bad_top": bad_top,
        "bad": sum(bad),
        "offered": line(lines.offered, top),
        "answered": area(ended["answered"], top),
        "stems": bars,
        "heat": heat(lines.cells),
        "rare": rare(lines.cells),
        "unanswered": unanswered(lines.cells),
        "rows": ROWS,
        "grid": [ROWS_PER_DECADE * decade for decade in range(1, DECADES)],
        "lane_tops": tops,
        "lanes": {lane.instance: area(lane.begun, tops[lane.instance]) for lane in lines.lanes},
        "ticks": [round(step * n, 6) for n in range(int(lines.axis.seconds / step) + 1)],
    }


def _lane_tops(lanes: Sequence[Lane]) -> dict[str, int]:
    """The scale of each lane: the instances of one service share theirs, so they compare."""
    most: dict[str, int] = {}
    for lane in lanes:
        service = lane.instance.rpartition("-")[0]
        most[service] = max(most.get(service, 1), *lane.begun)
    return {lane.instance: most[lane.instance.rpartition("-")[0]] for lane in lanes}


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


def stems(values: Sequence[int], top: int, below: Sequence[int]) -> str:
    """A vertical line for each value, on top of `below`: its width is the style's, so that a
    single bucket of a long run can be seen."""
    return "".join(f"M{x}.5 {top - below[x]}v{-value}" for x, value in enumerate(values) if value)


def heat(cells: Sequence[Cell]) -> list[str]:
    """A path for each level of density, the thinnest first; the scale is logarithmic."""
    most = max((cell.count for cell in cells), default=1)
    paths = [""] * LEVELS

    def alike(numbered: tuple[int, Cell]) -> tuple[int, int, int]:
        number, cell = numbered
        level = math.floor(LEVELS * math.log(cell.count) / math.log1p(most))
        return level, cell.row, cell.bucket - number

    # By row, then by bucket: neighbours that are alike are one rectangle.
    for (level, row, _), run in groupby(enumerate(cells), alike):
        (_, first), *others = run
        width = 1 + len(others)
        paths[level] += f"M{first.bucket} {ROWS - 1 - row}h{width}v1h-{width}z"
    return paths


def unanswered(cells: Iterable[Cell]) -> str:
    """A point in each cell that has a request without an answer; the style gives it its size."""
    return _dots(cell for cell in cells if cell.not_answered)


def rare(cells: Sequence[Cell]) -> str:
    """A point in each cell of a latency that few requests had: a cell alone is hardly seen."""
    totals: Counter[int] = Counter()
    for cell in cells:
        totals[cell.row] += cell.count
    return _dots(cell for cell in cells if totals[cell.row] <= FEW)


def _dots(cells: Iterable[Cell]) -> str:
    return "".join(f"M{cell.bucket}.5 {ROWS - 1 - cell.row}.5h0" for cell in cells)


def data(lines: Timeline) -> Markup:
    """The values under the cursor: JSON that cannot end the script element that holds it."""
    values = {
        "width": lines.axis.width,
        "buckets": lines.axis.buckets,
        "counts": {"offered": lines.offered, **lines.ended},
        "latency": {
            name: [None if one is None else round(one * 1000, 1) for one in values]
            for name, values in lines.latencies.items()
        },
        "phases": lines.phases,
        "injections": [
            [f"{one['fault']} {one['target']}", one["began"], one["ended"]]
            for one in lines.injections
        ],
        "lanes": [
            {
                "states": lane.states,
                "under": lane.under,
                "begun": lane.begun,
                "lost": lane.lost,
                "marks": [[mark["kind"], mark["at"], mark["at"]] for mark in lane.marks],
            }
            for lane in lines.lanes
        ],
    }
    rounded = json.loads(json.dumps(values), parse_float=lambda text: round(float(text), 3))
    text = json.dumps(rounded, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))
