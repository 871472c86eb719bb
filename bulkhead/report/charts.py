"""What the page draws of a run: paths, axes, and the values that its script shows."""

import json
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from bulkhead.report import svg
from bulkhead.report.lanes import Injection
from bulkhead.report.timeline import DECADES, ROWS, ROWS_PER_DECADE, Timeline

BAD = ("failed", "indeterminate", "not_sent")


@dataclass(frozen=True)
class Track:
    """All injections of one fault."""

    fault: str
    injections: tuple[Injection, ...]
    held: int
    void: int
    """Those that were skipped or did not take hold."""


def tracks(lines: Timeline) -> list[Track]:
    """In the order in which the faults first came."""
    tracks = []
    for fault in dict.fromkeys(one.fault for one in lines.injections):
        mine = tuple(one for one in lines.injections if one.fault == fault)
        held = sum(one.in_force for one in mine)
        tracks.append(Track(fault, mine, held, len(mine) - held))
    return tracks


def in_force(lines: Timeline) -> list[tuple[float, float]]:
    """When any fault was in force: overlapping ones as one span, or their colours would add up."""
    found: list[tuple[float, float]] = []
    for one in lines.injections:
        if not one.in_force:
            continue
        if found and one.began <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], one.ended))
        else:
            found.append((one.began, one.ended))
    return found


def charts(lines: Timeline) -> dict[str, Any]:
    """Paths, and what the axes need."""
    ended = lines.ended
    bad = [sum(three) for three in zip(*(ended[name] for name in BAD), strict=True)]
    top, bad_top = max(*lines.offered, *ended["answered"], 1), max(*bad, 1)
    below = [0] * lines.axis.buckets
    stems = {}
    for name in BAD:
        stems[name] = svg.stems(ended[name], bad_top, below)
        below = [a + b for a, b in zip(below, ended[name], strict=True)]
    tops = _lane_tops(lines)
    return {
        "top": top,
        "bad_top": bad_top,
        "bad": sum(bad),
        "offered": svg.line(lines.offered, top),
        "answered": svg.area(ended["answered"], top),
        "stems": stems,
        "heat": svg.heat(lines.cells),
        "rare": svg.rare(lines.cells),
        "unanswered": svg.unanswered(lines.cells),
        "rows": ROWS,
        "grid": [ROWS_PER_DECADE * decade for decade in range(1, DECADES)],
        "lane_tops": tops,
        "lanes": {lane.instance: svg.area(lane.begun, tops[lane.instance]) for lane in lines.lanes},
        "ticks": _ticks(lines.axis.seconds),
    }


def _lane_tops(lines: Timeline) -> dict[str, int]:
    """The scale of each lane: the instances of one service share theirs, so they compare."""
    most: dict[str, int] = {}
    for lane in lines.lanes:
        service = lane.instance.rpartition("-")[0]
        most[service] = max(most.get(service, 1), *lane.begun)
    return {lane.instance: most[lane.instance.rpartition("-")[0]] for lane in lines.lanes}


def _ticks(seconds: float, most: int = 14) -> list[float]:
    """Round times for the axis."""
    steps = (step * 10**scale for scale in range(-1, 6) for step in (1, 2, 5))
    step = next(step for step in steps if seconds / step <= most)
    return [round(step * number, 6) for number in range(int(seconds / step) + 1)]


def data(lines: Timeline) -> dict[str, Any]:
    """What the script shows under the cursor."""
    return {
        "width": lines.axis.width,
        "buckets": lines.axis.buckets,
        "counts": {"offered": lines.offered, **lines.ended},
        "latency": {
            name: [None if one is None else round(one * 1000, 1) for one in values]
            for name, values in lines.latencies.items()
        },
        "phases": [[span.name, span.began, span.ended] for span in lines.phases],
        "injections": [
            [f"{one.fault} {one.target}", one.began, one.ended] for one in lines.injections
        ],
        "lanes": [
            {
                "states": [[span.name, span.began, span.ended] for span in lane.states],
                "under": [[span.name, span.began, span.ended] for span in lane.under],
                "begun": lane.begun,
                "lost": lane.lost,
                "marks": [[mark.kind, mark.at, mark.at] for mark in lane.marks],
            }
            for lane in lines.lanes
        ],
    }


def embedded(values: dict[str, Any]) -> Markup:
    """JSON that cannot end the script element that holds it."""
    text = json.dumps(_rounded(values), separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026"))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value
