"""What a part of the bench found: printed as a table, kept as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

Cell = str | int | float | None


@dataclass
class Table:
    """Rows of cells under columns; `notes` are whole sentences, `details` what JSON alone keeps."""

    title: str
    columns: Sequence[str]
    rows: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: list[object] = field(default_factory=list)

    def text(self) -> str:
        """It for a terminal: columns of words to the left, columns of numbers to the right."""
        columns = list(zip(self.columns, *self.rows, strict=True))
        aligned = []
        for name, *cells in columns:
            lines = [str(name), *map(shown, cells)]
            width = max(map(len, lines))
            words = any(isinstance(cell, str) and cell != "-" for cell in cells)
            aligned.append([line.ljust(width) if words else line.rjust(width) for line in lines])
        lines = ["  ".join(cells).rstrip() for cells in zip(*aligned, strict=True)]
        return "\n".join([self.title, *(f"  {line}" for line in lines), *self.notes, ""])

    def markdown(self) -> str:
        """It for a page of the documentation, to be pasted as it is."""
        rows = [list(map(str, self.columns)), ["---"] * len(self.columns)]
        rows += [list(map(shown, row)) for row in self.rows]
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


class Store:
    """The file of one run of the bench, written anew after each part."""

    def __init__(self, path: Path, machine: dict[str, str]) -> None:
        self.path = path
        self._whole: dict[str, object] = {"machine": machine}

    def put(self, part: str, tables: Sequence[Table], took_s: float) -> None:
        """Keep what a part has found, and how long it took."""
        self._whole[part] = {"took_s": took_s, "tables": [asdict(table) for table in tables]}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self._whole, indent=1) + "\n")
