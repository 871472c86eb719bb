"""Turns at booting: as many as there are processors, and they end with their process."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services import boots
from services.boots import Turn

PROCESSORS = len(os.sched_getaffinity(0))
# A process that takes its turn, says so, and keeps it.
KEEPS = """
import os
from services.boots import Turn

turn = Turn(os.environ)
print(flush=True)
input()
"""


@contextmanager
def booting(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that boots and is not done."""
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPS],
        env={"BULKHEAD_BOOTS": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@contextmanager
def all_taken(folder: Path) -> Iterator[list[Turn]]:
    """Every processor boots somebody."""
    turns = [Turn({"BULKHEAD_BOOTS": str(folder)}) for _ in range(PROCESSORS)]
    yield turns
    for turn in turns:
        turn.end()


def waited_s(folder: Path) -> float:
    began = time.monotonic()
    Turn({"BULKHEAD_BOOTS": str(folder)}).end()
    return time.monotonic() - began


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boots, "PATIENCE_S", 0.3)


def test_as_many_boot_at_once_as_there_are_processors(tmp_path: Path) -> None:
    with all_taken(tmp_path) as turns:
        assert {path.name for path in tmp_path.iterdir()} == {str(n) for n in range(PROCESSORS)}
        assert waited_s(tmp_path) >= 0.3
        turns[-1].end()
        assert waited_s(tmp_path) < 0.3


def test_a_turn_ends_with_its_process_whatever_that_died_of(tmp_path: Path) -> None:
    with booting(tmp_path) as other, all_taken(tmp_path):
        other.kill()
        other.wait()
        assert waited_s(tmp_path) < 0.3


def test_who_hangs_while_it_boots_does_not_keep_the_others_for_ever(tmp_path: Path) -> None:
    with all_taken(tmp_path):
        assert 0.3 <= waited_s(tmp_path) < 10


@pytest.mark.parametrize("environ", [{}, {"BULKHEAD_BOOTS": ""}, {"BULKHEAD_BOOTS": "/nowhere"}])
def test_without_a_folder_nobody_waits(environ: dict[str, str]) -> None:
    began = time.monotonic()
    turns = [Turn(environ) for _ in range(PROCESSORS + 1)]
    assert time.monotonic() - began < 0.3
    for turn in turns:
        turn.end()


def test_an_end_may_be_told_twice(tmp_path: Path) -> None:
    turn = Turn({"BULKHEAD_BOOTS": str(tmp_path)})
    turn.end()
    turn.end()


def test_a_turn_is_not_inherited(tmp_path: Path) -> None:
    """What a process starts while it boots must not keep its turn."""
    turns = [Turn({"BULKHEAD_BOOTS": str(tmp_path)}) for _ in range(PROCESSORS)]
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        for turn in turns:
            turn.end()
        assert waited_s(tmp_path) < 0.3
        child.kill()
