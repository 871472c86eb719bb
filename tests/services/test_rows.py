"""The row writer when there is no room: no request ends, and what is missing is counted."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.common.identity import current
from services.common.rows import Rows

WHO = current()


@contextmanager
def no_larger_than(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size`: the kernel cuts the write that would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def execute(rows: Rows, number: int) -> None:
    """One request with the id `request-NUMBER`."""
    rows.end(rows.begin(f"request-{number}", "GET", "/", None), 200)


def whole(path: Path) -> list[dict[str, Any]]:
    """The lines that are rows."""
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def test_a_full_disk_ends_no_request(capfd: pytest.CaptureFixture[str]) -> None:
    rows = Rows("/dev/full", WHO)
    for number in range(3):
        execute(rows, number)
    assert rows.dropped == 6
    said = capfd.readouterr().err.splitlines()
    assert said == [
        "rows cannot be written to /dev/full: No space left on device; requests go on without"
    ]


def test_the_file_says_how_many_rows_are_missing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "service.jsonl"
    rows = Rows(str(path), WHO)
    execute(rows, 1)
    with no_larger_than(path.stat().st_size + 20):
        execute(rows, 2)
        execute(rows, 3)
    execute(rows, 4)
    execute(rows, 5)
    assert rows.dropped == 4
    assert path.read_text().count('"kind":"dropped"') == 1
    # The cut line and what followed at once share a line, which a reader parts.
    assert '"n":4,' in path.read_text()
    assert [row["id"] for row in whole(path)] == ["request-1"] * 2 + [
        "request-4",
        "request-4",
        "request-5",
        "request-5",
    ]
    assert capfd.readouterr().err.splitlines() == [
        f"rows cannot be written to {path}: no room for a whole row; requests go on without",
        f"rows are written to {path} again; 4 are missing",
    ]


def test_it_is_said_without_another_request(tmp_path: Path) -> None:
    path = tmp_path / "service.jsonl"
    asked: list[Callable[[], None]] = []
    rows = Rows(str(path), WHO, lambda _seconds, call: asked.append(call))
    with no_larger_than(0):
        execute(rows, 1)
        assert len(asked) == 1
        asked.pop()()
        assert len(asked) == 1, "it tries again, as long as there is no room"
    asked.pop()()
    assert asked == []
    assert [(row["kind"], row["n"], row["boot"]) for row in whole(path)] == [
        ("dropped", 2, WHO.boot)
    ]


def test_another_outage_is_counted_anew(tmp_path: Path) -> None:
    path = tmp_path / "service.jsonl"
    rows = Rows(str(path), WHO)
    for number in range(2):
        with no_larger_than(path.stat().st_size):
            execute(rows, number)
        execute(rows, number)
    assert [row["n"] for row in whole(path) if row["kind"] == "dropped"] == [2, 2]
    assert rows.dropped == 4


def test_a_file_that_cannot_be_opened_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Rows(str(tmp_path / "nowhere" / "service.jsonl"), WHO)
