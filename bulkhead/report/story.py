"""The whole story of a request: every moment of it that any observer wrote down, in order."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from duckdb import DuckDBPyConnection

from bulkhead.errors import EvidenceError
from bulkhead.report.axis import began
from bulkhead.report.columns import BOLD, DIM, GREEN, RED, YELLOW, offset, paint, plain, table
from bulkhead.report.moments import TONES, Moment, Row, Seen, Tone, moments

AROUND = ("fault", "watch")
PAINTS = {"": 0, "good": GREEN, "bad": RED, "unsure": YELLOW}


@dataclass(frozen=True)
class Story:
    """One request."""

    row: Row
    """Its row of the account's table `requests`."""
    zero: float
    """Seconds from the begin of the run to its planned start."""
    moments: tuple[Moment, ...]

    @property
    def tone(self) -> Tone:
        """How it ended, as a colour."""
        if self.row["delay_cause"]:
            return "unsure"
        return TONES.get(self.row["outcome"], "unsure")

    @property
    def ending(self) -> str:
        """How it ended, in words: the outcome, and its cause or what made it slow."""
        row = self.row
        slow = f"slow, {row['delay_cause']}" if row["delay_cause"] else ""
        return ": ".join(filter(None, (row["outcome"], row["cause"] or slow)))

    @property
    def took(self) -> float:
        """Seconds from the planned start until its client had the answer, or gave up."""
        return float(self.row["done"] - self.row["planned"])

    @property
    def ended(self) -> float:
        """The last moment that is its own, in seconds after the planned start."""
        own = (moment for moment in self.moments if moment.observer not in AROUND)
        return max((moment.until or moment.at for moment in own), default=0.0)


def stories(account: DuckDBPyConnection, ids: Sequence[str]) -> dict[str, Story]:
    """The stories of those of `ids` that are requests of the run, by id."""
    wanted = {"ids": list(ids)}
    requests = _rows(account, "SELECT * FROM requests WHERE list_contains($ids, id)", wanted)
    seen: dict[str, Seen] = defaultdict(Seen)
    for name in ("proxy", "attempts", "executions", "effects"):
        for row in _rows(account, f"SELECT * FROM {name} WHERE list_contains($ids, root)", wanted):
            getattr(seen[row["root"]], name).append(row)
    injections = _rows(account, "SELECT * FROM injections ORDER BY began", {})
    watch = _rows(account, "SELECT * FROM watch ORDER BY t", {})
    begin = began(account)
    return {
        row["id"]: Story(
            row, row["planned"] - begin, moments(row, seen[row["id"]], injections, watch)
        )
        for row in requests
    }


def text(account: DuckDBPyConnection, request_id: str, colour: bool = False) -> str:
    """One story for a terminal, a line break at its end.

    Raises:
        EvidenceError: the run has no request of that id.
    """
    found = stories(account, [request_id])
    if not found:
        raise EvidenceError(f"request {plain(request_id)}: no request of this run has that id")
    return _text(found[request_id], colour)


def _text(story: Story, colour: bool) -> str:
    row = story.row
    key = ", with a key" if row["keyed"] else ""
    lines = [
        paint(plain(f"{row['method']} {row['target']}"), BOLD, colour) + f"   {plain(row['id'])}",
        f"class {row['class']}{key}; planned {story.zero:.3f} s into the run, in {row['phase']}",
        paint(
            plain(": ".join(filter(None, (story.ending, row["detail"])))),
            PAINTS[story.tone],
            colour,
        ),
        "",
    ]
    cells = [
        (offset(moment.at) + " ms", moment.who, ("  " if moment.sub else "") + plain(moment.text))
        for moment in story.moments
    ]
    for moment, line in zip(story.moments, table(cells, left=(1, 2)), strict=True):
        tint = PAINTS[moment.tone] or (DIM if moment.sub else 0)
        lines.append("  " + (paint(line, tint, colour) if tint else line))
    return "\n".join(lines) + "\n"


def _rows(account: DuckDBPyConnection, query: str, values: dict[str, Any]) -> list[Row]:
    found = account.execute(query, values)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
