"""Files are replaced as a whole, with their permissions, and never through a link."""

import os
import stat
from pathlib import Path

import pytest

from bulkhead.atomic import replace
from bulkhead.proc import Process, noted


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_as_a_whole(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "state"
    path.write_text("before")
    with path.open() as reading:
        replace(path, "after", 0o640, durable=durable)
        assert reading.read() == "before"
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["state"]  # noqa: PTH208


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        replace(path, "after", durable=True)
    assert [one.name for one in tmp_path.iterdir()] == ["state"]


def test_a_link_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "state"
    victim.write_text("precious")
    path.symlink_to(victim)
    path.with_name(f".state.{os.getpid()}").symlink_to(victim)
    replace(path, "after", durable=True)
    assert victim.read_text() == "precious"
    assert path.read_text() == "after"
    assert not path.is_symlink()


@pytest.mark.parametrize(
    "text",
    ["", "1", "12 34 56", "a b", "0 5", "-1 5", "\xff\xfe 1", "9" * 40 + " 1", "1.5 2", "\0" * 20],
)
def test_what_is_no_note_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "note").write_text(text, "latin-1")
    assert noted(tmp_path / "note") is None


def test_a_note_names_one_process(tmp_path: Path) -> None:
    assert noted(tmp_path / "note") is None
    (tmp_path / "note").write_text("12 345\n")
    assert noted(tmp_path / "note") == Process(12, 345)
