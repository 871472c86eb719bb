"""A verdict for a terminal: what decided, how long requests took, how they ended. One screen."""

from collections.abc import Sequence

import msgspec
from duckdb import DuckDBPyConnection

from bulkhead.judge.case import Row
from bulkhead.judge.verdict import DECIDING, SHOWN, Check, Verdict
from bulkhead.report import columns, tables
from bulkhead.report.columns import BOLD, DIM, ms, paint, plain, share, shortened, table
from bulkhead.report.examples import groups
from bulkhead.rundir import RunDir

PAINTS = {"PASS": columns.GREEN, "FAIL": columns.RED, "INVALID": columns.YELLOW, "INFO": DIM}
TINTS = {"answered": 0, "failed": columns.RED}
WIDEST, SCREEN = 110, 45
MOST_CAUSES = 6
MOST_IDS = 3


def text(verdict: Verdict, account: DuckDBPyConnection, run: RunDir, colour: bool = False) -> str:
    """The whole verdict, a line break at its end; `colour` marks good and bad with ANSI codes."""
    word = paint(f" {verdict.verdict} ", PAINTS[verdict.verdict] + 10, colour)  # + 10: as ground
    title = paint(plain(_title(run)), BOLD, colour)
    first = [f"{word if colour else verdict.verdict}  {title}", *_figures(verdict)]
    last = [
        _latencies(account, colour),
        _endings(account, colour),
        _where(verdict, account, run, colour),
    ]
    room = SCREEN - len(first) - 1 - sum(len(block) + 1 for block in last)
    blocks = [first, _checks(verdict, room, colour), *last]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


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
            # Named all the same: a check that is not seen is a check that was not made.
            left = checks[number:]
            names = ", ".join(f"{one.name} {one.verdict}" for one in left)
            return [*lines, shortened(f"and {len(left)} more: {names}", WIDEST)]
        word, rest = row[: len(check.verdict)], shortened(row, WIDEST)[len(check.verdict) :]
        lines.append(paint(word, PAINTS[check.verdict], colour) + rest)
        lines += ["         " + one for one in said[number]]
    return lines


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
            f"{one['phase']} ({tables.COMPARED[one['phase']]})",
            f"{one['requests']:,}",
            *map(ms, one["quantiles"]),
        )
        for one in tables.latencies(account)
        if one["kind"] == "all"
    ]
    head, *lines = table([heads, *rows])
    return [paint(head, DIM, colour), *lines] if rows else []


def _endings(account: DuckDBPyConnection, colour: bool) -> list[str]:
    ended = tables.endings(account)
    answered = [one for one in ended if one["outcome"] == "answered"]
    found = [*answered, *tables.delays(account), *ended[len(answered) :]]
    shown = found[: MOST_CAUSES + 1]
    names = tables.phases(account)
    heads = ("outcome", "cause", "requests", "share", "when", "meaning")
    rows = [_ending(one, names) for one in shown]
    head, *lines = (shortened(line, WIDEST) for line in table([heads, *rows], left=(0, 1, 4, 5)))
    for number, (one, line) in enumerate(zip(shown, lines, strict=True)):
        word, tint = rows[number][0], TINTS.get(one["outcome"], columns.YELLOW)
        lines[number] = paint(word, tint, colour) + line[len(word) :]
    more = [f"and {len(found) - len(shown)} more causes"] if len(found) > len(shown) else []
    return [paint(head, DIM, colour), *lines, *more]


def _ending(one: Row, names: Sequence[str]) -> tuple[str, ...]:
    """A row. The slow ones are a part of the answered ones, and set in.

    `when` has the phases of the requests, but for those answered, which are in all phases.
    """
    outcome, cause = one["outcome"], one["cause"]
    when = [] if outcome == "answered" else [name for name in names if name in one["by_phase"]]
    return (
        "  slow" if outcome == "slow" else outcome.replace("_", " "),
        cause or "-",
        f"{one['count']:,}",
        share(one["share"]),
        ", ".join(when),
        one["meaning"] if cause else "",
    )


def _where(verdict: Verdict, account: DuckDBPyConnection, run: RunDir, colour: bool) -> list[str]:
    lines = [f"run     {run.path}"]
    if run.report_html.exists():
        lines.append(f"report  {run.report_html}")
    if telling := next((group.ids[0] for group in groups(account, verdict)), None):
        again = f"bulkhead report {run.path} --request {plain(telling)}"
        lines.append(f"see     {paint(again, BOLD, colour)}")
    return lines
