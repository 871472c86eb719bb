"""The evidence of a run as the account takes it in: the JSONL files and the facts of run.json."""

import json
import re
from pathlib import Path
from tempfile import NamedTemporaryFile

import duckdb
import msgspec

from bulkhead import records
from bulkhead.errors import EvidenceError
from bulkhead.rundir import RunDir

MOST_INSTANCES = 64  # of a service, as topology/model.py allows


# A file of rows, their shape, and which of the stack's own observers, whose rows a full disk may
# have cut, has written it; "" for none of them.
Source = tuple[Path, type[msgspec.Struct], str]


class _Service(msgspec.Struct):
    """The part of a service's configuration that the account needs."""

    host: str
    port: int
    instances: int
    kind: str = ""


class _Configuration(msgspec.Struct):
    services: dict[str, _Service]


class Facts(msgspec.Struct):
    """The part of run.json that the account needs; `seen` only for a stack on several hosts."""

    wall_minus_monotonic: float
    configuration: _Configuration
    seen: list[tuple[str, str, str]] = msgspec.field(default_factory=list, name="instances")

    def instances(self) -> list[tuple[str, str, str, bool, str]]:
        """(address, instance, service, configured, kind) of every instance there can have been.

        Those of several hosts have been seen (address, instance, service). On one host `scale`
        could have added those that are not in the topology: a service can grow until its ports
        meet those of another one, or to as many as a topology may have.
        """
        services = self.configuration.services
        if self.seen:
            kinds = {name: one.kind for name, one in services.items()}
            return [(*one, True, kinds.get(one[2], "")) for one in self.seen]
        found = []
        for service, one in services.items():
            gaps = (other.port - one.port for other in services.values() if other.host == one.host)
            most = max(one.instances, min([MOST_INSTANCES, *(gap for gap in gaps if gap > 0)]))
            for number in range(1, most + 1):
                address, name = f"{one.host}:{one.port + number - 1}", f"{service}-{number}"
                found.append((address, name, service, number <= one.instances, one.kind))
        return found


def facts(run: RunDir) -> Facts:
    """The facts of a run; EvidenceError if run.json is missing, or lacks one of them."""
    try:
        return msgspec.json.decode(run.run_json.read_bytes(), type=Facts)
    except FileNotFoundError:
        raise EvidenceError(f"{run.run_json}: is missing: this is no run folder") from None
    except msgspec.DecodeError as error:
        raise EvidenceError(f"{run.run_json}: {error}") from error


def sources(run: RunDir) -> dict[str, Source]:
    """Which step takes in which file of rows, and the shape of its lines."""
    return {
        "20-client.sql": (run.client_rows, records.ClientRow, ""),
        "21-proxy.sql": (run.proxy_rows, records.ProxyRow, "proxy"),
        "22-service.sql": (run.service_rows, records.ServiceRow, "service"),
        "23-effects.sql": (run.effects, records.EffectRow, ""),
        "24-entries.sql": (run.entries, records.EntryRow, ""),
        "25-events.sql": (run.events, records.Event, ""),
        "26-watch.sql": (run.watch_rows, records.WatchRow, "watch"),
    }


def fingerprint(run: RunDir) -> str:
    """Size and time of change of every file of evidence: another text when one has changed."""
    paths = (run.run_json, *(path for path, *_ in sources(run).values()))
    stats = {path.name: path.stat() for path in paths if path.exists()}
    return json.dumps({name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()})


def take_in(database: duckdb.DuckDBPyConnection, step: str, source: Source) -> None:
    """Run a step that reads the file of the variable `rows`; an absent file has no rows.

    What a full disk has cut of the stack's own rows is left out, and counted in `lost_rows`.
    EvidenceError if a line is no row; it names the file and the line.
    """
    path, shape, observer = source
    if not path.exists():
        return
    try:
        _run(database, step, path)
    except (duckdb.InvalidInputException, duckdb.ConstraintException) as error:
        # A line is no row, or was cut; or it is the encoding: of a client's bytes as they came.
        cut: list[int] = []
        rows = records.read_rows(path, shape, cut.append if observer else None)
        with NamedTemporaryFile(dir=path.parent, prefix=".account-") as copy:
            try:
                copy.writelines(records.encode(row) + b"\n" for row in rows)
                copy.flush()
                _run(database, step, Path(copy.name))
            except msgspec.DecodeError as problem:
                raise EvidenceError(str(problem)) from error
            except duckdb.Error as again:
                raise EvidenceError(f"{path}: {again}") from again
        if cut:
            lost = (observer, path.name, len(cut))
            database.execute("INSERT INTO lost_rows VALUES (?, ?, 'cut', ?)", lost)


def _run(database: duckdb.DuckDBPyConnection, step: str, path: Path) -> None:
    # A file's name is a pattern to DuckDB.
    pattern = re.sub(r"([*?\[])", r"[\1]", str(path))
    database.execute("SET VARIABLE rows = ?", (pattern,))
    database.execute(step)
