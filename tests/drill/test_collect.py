"""The rows of one run, also when the stack's files are rotated under it."""

import os
from pathlib import Path
from threading import Timer

import pytest

from bulkhead.drill import collect
from bulkhead.drill.collect import LedgerFile, Mark, Tail
from bulkhead.render.paths import Home
from bulkhead.rundir import RunDir


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def rotate(path: Path, turns: int = 1) -> None:
    """As `bulkhead reopen` does: the newest of the old ones is number 1."""
    for turn in range(turns, 0, -1):
        old = path.with_name(f"{path.name}.{turn}")
        if old.exists():
            old.rename(path.with_name(f"{path.name}.{turn + 1}"))
    path.rename(path.with_name(f"{path.name}.1"))
    path.touch()


def copied(tail: Tail, folder: Path) -> str:
    target = folder / "copy"
    tail.copy(target)
    return target.read_text()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def test_only_what_came_later_is_copied(rows: Path, tmp_path: Path) -> None:
    add(rows, "before\n")
    tail = Tail(rows)
    add(rows, "after\n")
    assert copied(tail, tmp_path) == "after\n"


def test_what_was_rotated_before_is_not_part_of_it(rows: Path, tmp_path: Path) -> None:
    add(rows, "long before\n")
    rotate(rows)
    add(rows, "before\n")
    tail = Tail(rows)
    add(rows, "after\n")
    assert copied(tail, tmp_path) == "after\n"


def test_rotated_files_are_read_in_their_order(rows: Path, tmp_path: Path) -> None:
    add(rows, "before\n")
    tail = Tail(rows)
    for turn in range(12):  # more than nine: by number, not by letter
        add(rows, f"{turn}\n")
        rotate(rows, turn)
    add(rows, "last\n")
    assert copied(tail, tmp_path) == "".join(f"{turn}\n" for turn in range(12)) + "last\n"


def test_a_row_that_a_late_writer_adds_to_the_rotated_file_is_there(
    rows: Path, tmp_path: Path
) -> None:
    add(rows, "before\n")
    tail = Tail(rows)
    late = os.open(rows, os.O_WRONLY | os.O_APPEND)
    rotate(rows)
    add(rows, "in the new one\n")
    os.write(late, b"in the old one\n")
    os.close(late)
    assert copied(tail, tmp_path) == "in the old one\nin the new one\n"


def test_a_file_that_was_put_over_a_rotated_one_is_whole(rows: Path, tmp_path: Path) -> None:
    """An older file may be gone by name; it is still read."""
    add(rows, "before\n")
    tail = Tail(rows)
    for text in ("first\n", "second\n"):
        add(rows, text)
        rows.replace(rows.with_name("rows.jsonl.1"))
    add(rows, "third\n")
    assert copied(tail, tmp_path) == "first\nsecond\nthird\n"


def test_what_a_new_start_sets_aside_is_part_of_it_and_what_an_old_one_did_is_not(
    rows: Path, tmp_path: Path
) -> None:
    old = rows.with_name("rows.jsonl.old")
    add(old, "of an earlier life\n")
    add(rows, "before\n")
    tail = Tail(rows)
    add(rows, "after\n")
    rotate(rows)
    add(rows, "rotated\n")
    assert copied(Tail(rows), tmp_path) == ""
    rows.replace(old)  # `up`, after everything was killed
    add(rows, "of the new life\n")
    assert copied(tail, tmp_path) == "after\nrotated\nof the new life\n"


def test_a_file_kept_open_in_time_outlives_any_number_of_starts(rows: Path, tmp_path: Path) -> None:
    """Each start keeps only the life before it."""
    add(rows, "before\n")
    tail = Tail(rows)
    for life in range(4):
        add(rows, f"life {life}\n")
        tail.keep_open()
        tail.keep_open()
        rows.replace(rows.with_name("rows.jsonl.old"))
    add(rows, "the last\n")
    assert copied(tail, tmp_path) == "".join(f"life {life}\n" for life in range(4)) + "the last\n"


def test_a_start_and_then_a_rotation_lose_nothing(rows: Path, tmp_path: Path) -> None:
    add(rows, "before\n")
    tail = Tail(rows)
    add(rows, "first\n")
    rows.replace(rows.with_name("rows.jsonl.old"))
    add(rows, "second\n")
    rotate(rows)
    add(rows, "third\n")
    assert copied(tail, tmp_path) == "first\nsecond\nthird\n"


def test_a_line_that_is_being_written_is_copied_whole(rows: Path, tmp_path: Path) -> None:
    add(rows, "before\n")
    tail = Tail(rows)
    add(rows, "half of ")
    writer = Timer(0.1, add, (rows, "a line\n"))
    writer.start()
    assert copied(tail, tmp_path) == "half of a line\n"
    writer.join()


def test_a_line_that_never_gets_its_end_is_copied_as_it_is(rows: Path, tmp_path: Path) -> None:
    add(rows, "")
    tail = Tail(rows)
    add(rows, "whole\nhalf of ")
    assert copied(tail, tmp_path) == "whole\nhalf of "


def test_a_file_that_came_later_is_copied_and_one_that_never_came_is_not(
    rows: Path, tmp_path: Path
) -> None:
    nothing = Tail(tmp_path / "never.jsonl")
    nothing.copy(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    tail = Tail(rows)
    add(rows, "after\n")
    assert copied(tail, tmp_path) == "after\n"


def test_the_watchdogs_rows_are_part_of_a_run_and_may_be_absent(tmp_path: Path) -> None:
    home, run = Home(tmp_path / "home"), RunDir(tmp_path / "run")
    home.rows.mkdir(parents=True)
    run.path.mkdir()
    home.proxy_rows.touch()
    since = Mark([home], LedgerFile(home.ledger))
    add(home.proxy_rows, "a request\n")
    since.keep(run)
    assert run.proxy_rows.read_text() == "a request\n"
    assert not run.watch_rows.exists()
    add(home.watch_rows, "before\n")
    since = Mark([home], LedgerFile(home.ledger))
    add(home.watch_rows, "a hang\n")
    since.keep(run)
    assert run.watch_rows.read_text() == "a hang\n"


def test_the_logs_are_kept_with_the_rotated_ones(tmp_path: Path) -> None:
    home, run = Home(tmp_path / "home"), RunDir(tmp_path / "run")
    home.log.mkdir(parents=True)
    run.path.mkdir()
    for name in ("api-1.log", "api-1.log.1", "supervisord.out"):
        (home.log / name).write_text(name)
    collect.keep_logs([home], run)
    assert sorted(path.name for path in run.log.iterdir()) == ["api-1.log", "api-1.log.1"]
