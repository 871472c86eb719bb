"""The rows of a load's workers, put together into one file when each of them is whole."""

import heapq
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bulkhead.errors import EvidenceError
from bulkhead.records import ClientRow, RowsEnd
from bulkhead.rundir import RunDir


class _Ended(msgspec.Struct):
    """The part of a row that its place depends on."""

    done: float


def merge(run: RunDir, workers: int) -> int:
    """Make `run.client_rows` of the files of all workers, in the order in which requests ended.

    The workers' own files are gone then. The result is how many rows there are.

    Raises:
        EvidenceError: a file is not whole, or rows of another load are there; a line for each
            worker of which something is missing. Nothing has been changed.
    """
    if run.client_rows.exists():
        raise EvidenceError(f"{run.client_rows}: is there already")
    wanted = {run.worker_rows(worker) for worker in range(workers)}
    if extra := sorted(set(run.path.glob("client-*.jsonl")) - wanted):
        raise EvidenceError(*(f"{one}: is of none of {workers} workers" for one in extra))
    if problems := [line for worker in range(workers) if (line := problem(run, worker))]:
        raise EvidenceError(*problems)
    made = run.client_rows.with_suffix(".part")
    rows = sum(said.rows for worker in range(workers) if (said := end(run, worker)))
    with made.open("wb") as out:
        files = [_rows(run.worker_rows(worker)) for worker in range(workers)]
        out.writelines(line for _, line in heapq.merge(*files, key=lambda row: row[0]))
    made.replace(run.client_rows)
    for worker in range(workers):
        run.worker_rows(worker).unlink()
        run.worker_end(worker).unlink()
    return rows


def end(run: RunDir, worker: int) -> RowsEnd | None:
    """What a worker said when it ended well; None as long as it has not."""
    try:
        return msgspec.json.decode(run.worker_end(worker).read_bytes(), type=RowsEnd)
    except FileNotFoundError:
        return None


def problem(run: RunDir, worker: int) -> str:
    """What is missing of a worker's rows, in one line, or ""."""
    path = run.worker_rows(worker)
    said = end(run, worker)
    if said is None:
        return f"worker {worker} of the load: {path.name} has no end: rows may be missing"
    if said.early:
        return f"worker {worker} of the load: ended before the load did, after {said.rows} rows"
    try:
        found = _count(path)
    except FileNotFoundError:
        return f"worker {worker} of the load: {path.name} is missing"
    except msgspec.DecodeError as error:
        return f"worker {worker} of the load: {error}"
    if found != said.rows:
        return f"worker {worker} of the load: {path.name} has {found} rows of {said.rows}"
    return ""


def _count(path: Path) -> int:
    """How many rows there are; a line without its end is none."""
    decode = msgspec.json.Decoder(ClientRow).decode
    count = 0
    with path.open("rb") as lines:
        for line in lines:
            try:
                decode(line)
            except msgspec.DecodeError as error:
                raise msgspec.DecodeError(f"{path.name}:{count + 1}: {error}") from error
            count += line.endswith(b"\n")
    return count


def _rows(path: Path) -> Iterator[tuple[float, bytes]]:
    """The lines of a file, each with the moment at which its request ended."""
    decode = msgspec.json.Decoder(_Ended).decode
    with path.open("rb") as lines:
        for line in lines:
            yield decode(line).done, line
