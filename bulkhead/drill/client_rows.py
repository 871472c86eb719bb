"""The rows that a load writes: followed while it runs, and merged when its workers have ended."""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bulkhead.errors import EvidenceError
from bulkhead.records import ClientRow, RowsEnd
from bulkhead.rundir import RunDir


def cut_short(row: ClientRow) -> bool:
    """Whether the request ended because the load generator had run out of something of its own."""
    return row.error in ("unsent", "stopped") and bool(row.wrong)


class Follower:
    """Counts the rows of growing files; `short` says what the load generator has run out of."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.requests = 0
        self.failed = 0
        self.short = ""
        self._offsets = dict.fromkeys(paths, 0)
        self._decode = msgspec.json.Decoder(ClientRow).decode

    def read(self) -> tuple[int, int]:
        """Rows, and failed ones among them, that are new since the last call."""
        new = self.new()
        short = [row.wrong for row in new if cut_short(row)]
        failed = sum(_failed(row) for row in new) - len(short)
        self.short = self.short or next(iter(short), "")
        self.requests += len(new)
        self.failed += failed
        return len(new), failed

    def new(self) -> list[ClientRow]:
        """The rows that are new since the last call, not counted."""
        return [self._decode(line) for path in self._offsets for line in self._lines(path)]

    def progress(self, seconds: float) -> str:
        """A line for a person about the rows that are new since the last call."""
        new, failed = self.read()
        return (
            f"  {seconds:4.0f} s  {new:7,} requests/s  {self.requests:9,} in all  "
            f"{self.failed:,} failed" + (f" (+{failed})" if failed else "")
        )

    def _lines(self, path: Path) -> list[bytes]:
        if not path.exists():
            return []
        with path.open("rb") as rows:
            rows.seek(self._offsets[path])
            whole, newline, _part = rows.read().rpartition(b"\n")
        self._offsets[path] += len(whole) + len(newline)
        return whole.splitlines()


def _failed(row: ClientRow) -> bool:
    """Whether it has failed, as far as is known while the load runs."""
    return row.error != "gave_up" and bool(row.error or row.wrong or row.status >= 400)


def merge(run: RunDir, workers: int) -> int:
    """Make `run.client_rows` of the files of all workers, in the order in which requests ended.

    The workers' own files are gone then. Returns how many rows there are.
    EvidenceError if a file is not whole, or rows of another load are there; with a line for each
    worker. Nothing has been changed.
    """
    if run.client_rows.exists():
        raise EvidenceError(f"{run.client_rows}: is there already")
    paths = [run.worker_rows(worker) for worker in range(workers)]
    if extra := sorted(set(run.path.glob("client-*.jsonl")) - set(paths)):
        raise EvidenceError(*(f"{path}: is of none of {workers} workers" for path in extra))
    ends = [end(run, worker) for worker in range(workers)]
    if problems := [
        f"worker {worker} of the load: {problem}"
        for worker, said in enumerate(ends)
        if (problem := _problem(paths[worker], said))
    ]:
        raise EvidenceError(*problems)
    made = run.client_rows.with_suffix(".part")
    with made.open("wb") as out:
        merged = heapq.merge(*map(_rows, paths), key=lambda row: row[0])
        out.writelines(line for _, line in merged)
    made.replace(run.client_rows)
    for worker in range(workers):
        paths[worker].unlink()
        run.worker_end(worker).unlink()
    return sum(said.rows for said in ends if said)


def end(run: RunDir, worker: int) -> RowsEnd | None:
    """A worker's note that it has ended well; None as long as it has not."""
    try:
        return msgspec.json.decode(run.worker_end(worker).read_bytes(), type=RowsEnd)
    except FileNotFoundError:
        return None


def _problem(path: Path, said: RowsEnd | None) -> str:
    """The rows that are missing of a worker, in a few words; "" for none."""
    if said is None:
        return f"{path.name} has no end: rows may be missing"
    if said.early:
        return f"ended before the load did, after {said.rows} rows"
    try:
        # A line without its end is no row.
        found = sum(line.endswith(b"\n") for _, line in _rows(path))
    except FileNotFoundError:
        return f"{path.name} is missing"
    except msgspec.DecodeError as error:
        return str(error)
    return "" if found == said.rows else f"{path.name} has {found} rows of {said.rows}"


def _rows(path: Path) -> Iterator[tuple[float, bytes]]:
    """The lines of a file, each with the moment at which its request ended."""
    decode = msgspec.json.Decoder(ClientRow).decode
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield decode(line).done, line
            except msgspec.DecodeError as error:
                raise msgspec.DecodeError(f"{path.name}:{number}: {error}") from error
