"""The evidence of a run as the account takes it in: the JSONL files and the facts of run.json."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import duckdb
import msgspec

from bulkhead.errors import EvidenceError
from bulkhead.records import (
    ClientRow,
    EffectRow,
    EntryRow,
    Event,
    ProxyRow,
    ServiceRow,
    WatchRow,
    read_rows,
)
from bulkhead.rundir import RunDir

MOST_INSTANCES = 64  # of a service, as topology/model.py allows


@dataclass(frozen=True)
class Source:
    """A file of rows."""

    path: Path
    shape: type[msgspec.Struct]


class _Service(msgspec.Struct):
    """What the account must know of a service of the configuration."""

    host: str
    port: int
    instances: int


class _Configuration(msgspec.Struct):
    services: dict[str, _Service]


class Facts(msgspec.Struct):
    """What the account must know of run.json; `seen` only of a stack on several hosts."""

    wall_minus_monotonic: float
    configuration: _Configuration
    seen: list[tuple[str, str, str]] = msgspec.field(default_factory=list, name="instances")

    def instances(self) -> list[tuple[str, str, str, bool]]:
        """(address, instance, service, configured) of every instance that there can have been.

        Those of several hosts have been seen (address, instance, service). On one host `scale`
        could have added those that are not in the topology: a service can grow until its ports
        meet those of another one, or to as many as a topology may have.
        """
        if self.seen:
            return [(*one, True) for one in self.seen]
        services = self.configuration.services
        found = []
        for service, one in services.items():
            gaps = (other.port - one.port for other in services.values() if other.host == one.host)
            most = max(one.instances, min([MOST_INSTANCES, *(gap for gap in gaps if gap > 0)]))
            found += [
                (
                    f"{one.host}:{one.port + number - 1}",
                    f"{service}-{number}",
                    service,
                    number <= one.instances,
                )
                for number in range(1, most + 1)
            ]
        return found


def facts(run: RunDir) -> Facts:
    """The facts of a run.

    Raises:
        EvidenceError: run.json is missing, or lacks one of them.
    """
    try:
        return msgspec.json.decode(run.run_json.read_bytes(), type=Facts)
    except FileNotFoundError:
        raise EvidenceError(f"{run.run_json}: is missing: this is no run folder") from None
    except msgspec.DecodeError as error:
        raise EvidenceError(f"{run.run_json}: {error}") from error


def sources(run: RunDir) -> dict[str, Source]:
    """Which step takes in which file of rows, and the shape of its lines."""
    return {
        "20-client.sql": Source(run.client_rows, ClientRow),
        "21-proxy.sql": Source(run.proxy_rows, ProxyRow),
        "22-service.sql": Source(run.service_rows, ServiceRow),
        "23-effects.sql": Source(run.effects, EffectRow),
        "24-entries.sql": Source(run.entries, EntryRow),
        "25-events.sql": Source(run.events, Event),
        "26-watch.sql": Source(run.watch_rows, WatchRow),
    }


def fingerprint(run: RunDir) -> str:
    """Size and time of change of every file of evidence: another text when one has changed."""
    found = {}
    for path in (run.run_json, *(source.path for source in sources(run).values())):
        if path.exists():
            stat = path.stat()
            found[path.name] = [stat.st_size, stat.st_mtime_ns]
    return json.dumps(found)


def take_in(database: duckdb.DuckDBPyConnection, step: str, source: Source) -> None:
    """Run a step that reads the file of the variable `rows`; an absent file has no rows.

    Raises:
        EvidenceError: a line is no row; it names the file and the line.
    """
    if not source.path.exists():
        return
    try:
        _take_in(database, step, source.path)
    except (duckdb.InvalidInputException, duckdb.ConstraintException) as error:
        problem = _first_problem(source)
        if problem:
            raise EvidenceError(problem) from error
        # Every line is a row, so it is the encoding: a client's bytes are logged as they came.
        with _as_utf8(source.path) as readable:
            try:
                _take_in(database, step, readable)
            except duckdb.Error as again:
                raise EvidenceError(f"{source.path}: {again}") from again


def _take_in(database: duckdb.DuckDBPyConnection, step: str, path: Path) -> None:
    # A file's name is a pattern to DuckDB.
    pattern = re.sub(r"([*?\[])", r"[\1]", str(path))
    database.execute("SET VARIABLE rows = ?", (pattern,))
    database.execute(step)


def _first_problem(source: Source) -> str:
    """The first line that is no row, in words; "" when there is none."""
    try:
        for _ in read_rows(source.path, source.shape):
            pass
    except msgspec.DecodeError as error:
        return str(error)
    return ""


@contextmanager
def _as_utf8(path: Path) -> Iterator[Path]:
    """A copy in which what is no UTF-8 has become U+FFFD, as `read_rows` has it."""
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".account-") as copy:
        with path.open(encoding="utf-8", errors="replace") as lines:
            copy.writelines(lines)
        copy.flush()
        yield Path(copy.name)
