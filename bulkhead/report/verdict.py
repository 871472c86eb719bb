"""A verdict for a terminal: what decided, how long requests took, how they ended. One screen."""

from collections.abc import Sequence

import msgspec
from duckdb import DuckDBPyConnection

from bulkhead.judge.verdict import DECIDING, SHOWN, Check, Verdict
from bulkhead.report import tables
from bulkhead.report.columns import (
    BOLD,
    DIM,
    GREEN,
    RED,
    YELLOW,
    ms,
    paint,
    plain,
    share,
    shortened,
    table,
)
from bulkhead.report.examples import groups
from bulkhead.rundir import RunDir

PAINTS = {"PASS": GREEN, "FAIL": RED, "INVALID": YELLOW, "INFO": DIM}
TINTS = {"answered": 0, "failed": RED}
WIDEST, SCREEN = 110, 45
MOST_CAUSES = 6
MOST_IDS = 3


def text(verdict: Verdict, account: DuckDBPyConnection, run: RunDir, colour: bool = False) -> str:
    """The whole verdict, a line break at its end; `colour` marks good and bad with ANSI codes."""
    first = [_headline(verdict, run, colour), *_figures(verdict)]
    last = [
        _latencies(account, colour),
        _endings(account, colour),
        _where(verdict, account, run, colour),
    ]
    room = SCREEN - len(first) - 1 - sum(len(block) + 1 for block in last)
    blocks = [first, _checks(verdict, room, colour), *last]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _headline(verdict: Verdict, run: RunDir, colour: bool) -> str:
    word = paint(f" {verdict.verdict} ", PAINTS[verdict.verdict] + 10, colour)  # + 10: as ground
    return f"{word if colour else verdict.verdict}  {paint(plain(_title(run)), BOLD, colour)}"


def _title(run: RunDir) -> str:
    """The drill's name and title; the folder's name where no drill is told."""
    try:
        drill = msgspec.json.decode(run.drill_json.read_bytes(), type=dict)
    except (OSError, msgspec.DecodeError):
        return run.path.name
    return ": ".join(filter(None, (drill.get("name"), drill.get("title"))))


def _figures(verdict: Verdict) -> list[str]:
    """The summary in one line."""
    figures = verdict.figures
    parts = [
        f"{figures[name]:,} {name.replace('_', ' ')}"
        for name in ("requests", "failed", "indeterminate", "retried", "lost", "doubled")
        if figures.get(name) is not None
    ]
    if (recovery := figures.get("recovery_s")) is not None:
        parts.append(f"back within {recovery:.2f} s")
    return ["      " + ", ".join(parts)] if parts else []


def _checks(verdict: Verdict, room: int, colour: bool) -> list[str]:
    """Deciding checks first, each with what it says; what finds no room is named in one line."""
    if not verdict.checks:
        return []
    checks = sorted(verdict.checks, key=lambda check: SHOWN.index(check.verdict))
    said = {number: _said(check) for number, check in enumerate(checks)}
    heads = ("", "check", "figure", "bound")
    cells = [(one.verdict, one.name, plain(one.figure), plain(one.bound)) for one in checks]
    head, *rows = table([heads, *cells], left=range(len(heads)))
    lines = [paint(shortened(head, WIDEST), DIM, colour)]
    for number, (check, row) in enumerate(zip(checks, rows, strict=True)):
        more_follow = number < len(checks) - 1
        if len(lines) + 1 + len(said[number]) + more_follow > room:
            return [*lines, *_left_out(checks[number:])]
        word, rest = row[: len(check.verdict)], shortened(row, WIDEST)[len(check.verdict) :]
        lines.append(paint(word, PAINTS[check.verdict], colour) + rest)
        lines += ["         " + one for one in said[number]]
    return lines


def _left_out(checks: Sequence[Check]) -> list[str]:
    """Named all the same: a check that is not seen is a check that was not made."""
    words = f"and {len(checks)} more: " + ", ".join(f"{one.name} {one.verdict}" for one in checks)
    return [shortened(words, WIDEST)]


def _said(check: Check) -> list[str]:
    """The message of a check that decides, where it says more than the figure; and examples."""
    if check.verdict not in DECIDING:
        return []
    examples = ", ".join(plain(one) for one in check.examples[:MOST_IDS])
    more = ", ..." if check.count > MOST_IDS and examples else ""
    found = [plain(check.message)] if check.message not in ("", check.figure) else []
    found += [f"such as {examples}{more}"] if examples else []
    return [shortened(one, WIDEST - 9) for one in found]


def _latencies(account: DuckDBPyConnection, colour: bool) -> list[str]:
    heads = ("latency in ms", "requests", *tables.QUANTILES)
    rows = [
        (
            f"{one.phase} ({tables.COMPARED[one.phase]})",
            f"{one.requests:,}",
            *map(ms, one.quantiles),
        )
        for one in tables.latencies(account)
        if one.kind == "all"
    ]
    head, *lines = table([heads, *rows])
    return [paint(head, DIM, colour), *lines] if rows else []


def _endings(account: DuckDBPyConnection, colour: bool) -> list[str]:
    ended = tables.endings(account)
    answered = [one for one in ended if one.outcome == "answered"]
    found = [*answered, *tables.delays(account), *ended[len(answered) :]]
    shown = found[: MOST_CAUSES + 1]
    names = tables.phases(account)
    heads = ("outcome", "cause", "requests", "share", "when", "meaning")
    rows = [_ending(one, names) for one in shown]
    head, *lines = (shortened(line, WIDEST) for line in table([heads, *rows], left=(0, 1, 4, 5)))
    for number, (one, line) in enumerate(zip(shown, lines, strict=True)):
        if tint := TINTS.get(one.outcome, YELLOW):
            word = rows[number][0]
            lines[number] = paint(word, tint, colour) + line[len(word) :]
    more = [f"and {len(found) - len(shown)} more causes"] if len(found) > len(shown) else []
    return [paint(head, DIM, colour), *lines, *more]


def _ending(one: tables.Ending, names: Sequence[str]) -> tuple[str, ...]:
    """A row; what is slow is a part of what was answered, and set in."""
    return (
        "  slow" if one.outcome == "slow" else one.outcome.replace("_", " "),
        one.cause or "-",
        f"{one.count:,}",
        share(one.share),
        _when(names, one),
        one.meaning if one.cause else "",
    )


def _when(names: Sequence[str], ending: tables.Ending) -> str:
    """The phases in which most of them were planned, where it is not simply all of them."""
    if ending.outcome == "answered":
        return ""
    return ", ".join(name for name in names if name in ending.by_phase)


def _where(verdict: Verdict, account: DuckDBPyConnection, run: RunDir, colour: bool) -> list[str]:
    lines = [f"run     {run.path}"]
    if run.report_html.exists():
        lines.append(f"report  {run.report_html}")
    if telling := next((group.ids[0] for group in groups(account, verdict)), None):
        again = f"bulkhead report {run.path} --request {plain(telling)}"
        lines.append(f"see     {paint(again, BOLD, colour)}")
    return lines
