"""The rows of several workers become those of one load, or it is said whose are missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from bulkhead.drill.client_rows import Follower, merge
from bulkhead.errors import EvidenceError
from bulkhead.records import ClientRow, RowsEnd, encode, read_rows
from bulkhead.rundir import RunDir

Moments = tuple[float, ...]


def row(worker: int, done: float) -> ClientRow:
    return ClientRow(f"{worker}-{done:g}", "GET /", "GET", "/", done - 1, done - 1, done, 200)


def written(folder: Path, *workers: Moments) -> RunDir:
    """A run whose workers have ended well: each has a row for each moment of an end."""
    run = RunDir(folder)
    for worker, moments in enumerate(workers):
        lines = [encode(row(worker, done)) + b"\n" for done in moments]
        run.worker_rows(worker).write_bytes(b"".join(lines))
        run.worker_end(worker).write_bytes(encode(RowsEnd(len(moments))))
    return run


def complaints(run: RunDir, workers: int) -> tuple[str, ...]:
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(EvidenceError) as caught:
        merge(run, workers)
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before
    return caught.value.lines


def test_all_rows_are_there_once_in_the_order_of_their_ends(tmp_path: Path) -> None:
    run = written(tmp_path, (1, 4, 5), (2, 3, 6), ())
    assert merge(run, 3) == 6
    assert [one.id for one in read_rows(run.client_rows, ClientRow)] == [
        "0-1", "1-2", "1-3", "0-4", "0-5", "1-6",
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == [run.client_rows]


def test_a_worker_that_did_not_end_well_is_named(tmp_path: Path) -> None:
    run = written(tmp_path, (1,), (2,), (3,))
    run.worker_end(1).unlink()
    run.worker_end(2).write_bytes(encode(RowsEnd(1, early=True)))
    assert complaints(run, 3) == (
        "worker 1 of the load: client-1.jsonl has no end: rows may be missing",
        "worker 2 of the load: ended before the load did, after 1 rows",
    )


def test_a_file_that_is_not_what_its_worker_left_is_named(tmp_path: Path) -> None:
    run = written(tmp_path, (1, 2, 3), (4, 5), (6,), (7, 8))
    first = run.worker_rows(0).read_bytes()
    run.worker_rows(0).write_bytes(first.removesuffix(b"\n"))
    run.worker_rows(1).unlink()
    run.worker_rows(2).write_bytes(b'{"id": 3}\n')
    run.worker_rows(3).write_bytes(run.worker_rows(3).read_bytes() * 2)
    short, missing, broken, long = complaints(run, 4)
    assert short == "worker 0 of the load: client-0.jsonl has 2 rows of 3"
    assert missing == "worker 1 of the load: client-1.jsonl is missing"
    assert broken.startswith("worker 2 of the load: client-2.jsonl:1: ")
    assert long == "worker 3 of the load: client-3.jsonl has 4 rows of 2"


def test_a_row_that_is_cut_in_the_middle_is_named(tmp_path: Path) -> None:
    run = written(tmp_path, (1, 2))
    run.worker_rows(0).write_bytes(run.worker_rows(0).read_bytes()[:-20])
    (line,) = complaints(run, 1)
    assert line.startswith("worker 0 of the load: client-0.jsonl:2: ")


def test_rows_of_another_load_are_not_lost(tmp_path: Path) -> None:
    run = written(tmp_path, (1,))
    run.client_rows.write_bytes(b"")
    assert complaints(run, 1) == (f"{run.client_rows}: is there already",)


@pytest.mark.live
def test_the_command_merges_or_says_why_not(tmp_path: Path) -> None:
    run = written(tmp_path, (1, 3), (2,))

    def command(workers: str) -> tuple[int, str]:
        words = ("merge", str(tmp_path), "--workers", workers)
        done = subprocess.run(
            [sys.executable, "-m", "bulkhead.cli", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout

    missing = "worker 2 of the load: client-2.jsonl has no end: rows may be missing"
    assert command("3") == (7, f"bulkhead: {missing}\n")
    assert command("0") == (2, "bulkhead: merge: --workers 0: must be from 1 to 1000\n")
    assert command("2") == (0, f"3 rows in {run.client_rows}\n")


def test_growing_files_are_followed_together(tmp_path: Path) -> None:
    run = written(tmp_path, (1, 2), (3,))
    follower = Follower([run.worker_rows(worker) for worker in range(3)])
    assert follower.read() == (3, 0)
    with run.worker_rows(1).open("ab") as out:
        out.write(encode(row(1, 4)) + b'\n{"id"')
    run.worker_rows(2).write_bytes(encode(row(2, 5)) + b"\n")
    assert follower.read() == (2, 0)
    assert follower.requests == 5
