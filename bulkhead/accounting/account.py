"""The account of a run: every observer's rows in one database, every request in one outcome.

The work is done by the files of `sql/`, one step each, in the order of their names. An account is
never changed: `build` makes a new one and puts it in the place of the old.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import psutil

from bulkhead.accounting import evidence
from bulkhead.errors import EvidenceError
from bulkhead.rundir import RunDir

STEPS = {
    path.name: path.read_text()
    for path in sorted(files("bulkhead.accounting").joinpath("sql").iterdir(), key=str)
    if path.name.endswith(".sql")
}
INSTANCES = (
    "CREATE TABLE instances "
    "(address VARCHAR, name VARCHAR, service VARCHAR, configured BOOLEAN, kind VARCHAR)"
)
VERSION = hashlib.sha256("".join([INSTANCES, *STEPS.values()]).encode()).hexdigest()
"""Names the tables as these steps make them; an account that others made is made again."""

THREADS = 4
LEAST_MEMORY, MOST_MEMORY = 512 << 20, 4 << 30  # bytes
NO_PROGRESS = "SET enable_progress_bar = false"  # it would go to stdout, between anyone's figures


def build(run: RunDir) -> None:
    """Make `run.account` from the run's rows.

    EvidenceError if a file is missing, or a line of one is no row.
    """
    if not run.client_rows.exists():
        raise EvidenceError(f"{run.client_rows}: is missing: without it there is nothing to judge")
    made_of = evidence.fingerprint(run)
    with TemporaryDirectory(dir=run.path, prefix=".account-") as folder:
        made = Path(folder) / run.account.name
        with _connect(made, spill=f"{folder}/spill") as database:
            database.execute(
                "CREATE TABLE meta AS SELECT ? AS version, ? AS made_of", (VERSION, made_of)
            )
            fill(database, run)
        made.replace(run.account)


def fill(database: duckdb.DuckDBPyConnection, run: RunDir) -> None:
    """Make the tables and views of the account of a run in an empty database.

    EvidenceError as `build`.
    """
    facts = evidence.facts(run)
    sources = evidence.sources(run)
    database.execute(INSTANCES)
    database.executemany("INSERT INTO instances VALUES (?, ?, ?, ?, ?)", facts.instances())
    database.execute("SET VARIABLE wall_offset = ?", (facts.wall_minus_monotonic,))
    database.execute("SET VARIABLE watched = ?", (run.watch_rows.exists(),))
    for name, step in STEPS.items():
        if name in sources:
            evidence.take_in(database, step, sources[name])
        else:
            database.execute(step)
    distant = "SELECT count(*) FROM executions WHERE contains(instance, '.')"
    if not facts.seen and database.execute(distant).fetchall() != [(0,)]:
        raise EvidenceError(
            f"{run.run_json}: does not say who had which address on several hosts: "
            "the run did not reach its end"
        )


@contextmanager
def opened(run: RunDir) -> Iterator[duckdb.DuckDBPyConnection]:
    """The account for reading; it is made first when it is missing or no longer fits the rows.

    EvidenceError as `build`.
    """
    if not _is_current(run):
        build(run)
    with duckdb.connect(run.account, read_only=True) as database:
        database.execute(NO_PROGRESS)
        yield database


def _connect(path: Path, spill: str) -> duckdb.DuckDBPyConnection:
    """A new database that uses no more of the machine than an account needs."""
    database = duckdb.connect(
        path,
        config={
            "threads": min(len(os.sched_getaffinity(0)), THREADS),
            "memory_limit": f"{_memory() >> 20}MiB",
            "temp_directory": spill,
            "autoinstall_known_extensions": False,
        },
    )
    database.execute(NO_PROGRESS)
    return database


def _memory() -> int:
    """Bytes to work in: a quarter of what is free, between two bounds.

    What does not fit goes to disk, in the run folder, and takes up to twice as long: 1,000,000
    requests want 1.4 GB.
    """
    return min(MOST_MEMORY, max(LEAST_MEMORY, psutil.virtual_memory().available // 4))


def _is_current(run: RunDir) -> bool:
    """Whether the account that is there was made of these rows by these steps."""
    if not run.account.exists():
        return False
    try:
        with duckdb.connect(run.account, read_only=True) as database:
            meta = database.execute("SELECT version, made_of FROM meta").fetchall()
    except duckdb.Error:  # another DuckDB's file, or none at all
        return False
    return meta == [(VERSION, evidence.fingerprint(run))]
