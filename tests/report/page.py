"""A page as a test sees it: its tables, its anchors, its links, its text."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Page(HTMLParser):
    """What was read of a page. Cells are texts with single spaces."""

    tables: list[list[list[str]]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    words: str = ""
    readouts: list[tuple[str, str]] = field(default_factory=list)

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables, self.ids, self.links, self.tags, self.words = [], [], [], [], ""
        self.readouts = []
        self._cell: list[str] | None = None
        self._reading = False
        self.feed(html)
        self._end_cell()
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.append(given["id"])
        self._reading = "data-v" in given or "data-state" in given or given.get("id") == "moment"
        if self._reading:
            self.readouts.append((given.get("data-v", given.get("id", "")), ""))
        if tag == "a":
            self.links.append(given["href"])
        if tag in ("td", "th", "tr", "table"):
            self._end_cell()
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        self._reading = False
        if tag in ("tr", "thead", "table"):
            self._end_cell()

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._reading:
            self.readouts[-1] = (self.readouts[-1][0], data)
        if self._cell is not None:
            self._cell.append(data)

    def _end_cell(self) -> None:
        if self._cell is not None:
            self.tables[-1][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def table(self, *heads: str) -> list[dict[str, str]]:
        """The rows of the table whose first columns have these heads, by head."""
        found = [rows for rows in self.tables if tuple(rows[0][: len(heads)]) == heads]
        assert len(found) == 1, [rows[0] for rows in self.tables]
        head, *rows = found[0]
        return [dict(zip(head, row, strict=True)) for row in rows]

    def having(self, tag: str, name: str) -> list[dict[str, str]]:
        """The attributes of every `tag` that is of class `name`."""
        return [given for one, given in self.tags if one == tag and name in classes(given)]


def classes(given: dict[str, str]) -> list[str]:
    return given.get("class", "").split()
