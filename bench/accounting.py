"""How long the account of a run takes to make, and how much memory.

Each size is a made-up run of so many requests with every observer's rows, 30 % of them writes, 2 %
tried twice and 0.1 % failed, in a temporary folder that is gone afterwards. Every account is made
by a process of its own, so that its peak of memory is its own.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.tables import Table
from bulkhead.rundir import RunDir
from tests.support.runs import Failed, MadeRun

SIZES = (10_000, 100_000, 1_000_000)
FULL = 5_000_000
RATE = 2_000.0
ROUNDS = 2
CHUNK = 10_000

BUILD = (
    "import sys; from pathlib import Path; from bulkhead.rundir import RunDir;"
    "from bulkhead.accounting import account; account.build(RunDir(Path(sys.argv[1])))"
)


COLUMNS = ("requests", "rows", "MB of rows", "s", "us each", "peak MB", "MB of account")


def measure(full: bool) -> Iterator[Table]:
    """The table, size by size; `full` adds the largest, once, which takes minutes."""
    table = Table(f"making an account, each of {ROUNDS} times", COLUMNS)
    for size in (*SIZES, *([FULL] if full else [])):
        print(f"  accounting: {size:,} requests", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            run = make(Path(folder), size)
            files = list(run.path.glob("*.jsonl"))
            rows = sum(map(count_lines, files))
            written = sum(path.stat().st_size for path in files) / 1e6
            for _ in range(1 if size == FULL else ROUNDS):
                seconds, peak = measured(run)
                times = [seconds, seconds / size * 1e6]
                account = run.account.stat().st_size / 1e6
                table.rows.append([size, rows, written, *times, peak, account])
    yield table


def measured(run: RunDir) -> tuple[float, float]:
    """Seconds and peak MB of a process that makes the account, its start included."""
    began = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", BUILD, str(run.path)])
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, "no account was made"
    return time.monotonic() - began, used.ru_maxrss / 1024


def make(folder: Path, size: int) -> RunDir:
    """A run of `size` requests, written as it is made."""
    made = MadeRun(folder)
    run = made.write()
    made.phases(end=100.0 + size / RATE)
    chance = random.Random(size)
    for number in range(size):
        add_request(made, number, chance)
        if number % CHUNK == CHUNK - 1:
            made.drain()
    made.drain()
    return run


def add_request(made: MadeRun, number: int, chance: random.Random) -> None:
    """One request of the mix; ids are as long as the load generator's."""
    instance, other = f"api-{number % 4 + 1}", f"api-{(number + 1) % 4 + 1}"
    lot = chance.random()
    made.request(
        f"{number % 500:016x}-{number}",
        at=100.0 + number / RATE,
        took=0.002 + 0.01 * chance.random(),
        instance=instance,
        effect="create" if chance.random() < 0.3 else "read",
        status=503 if lot < 0.001 else 0,
        failed=[Failed(other, "refused")] if lot < 0.02 else (),
    )


def count_lines(path: Path) -> int:
    """How many lines a file has."""
    with path.open("rb") as file:
        return sum(1 for _ in file)
