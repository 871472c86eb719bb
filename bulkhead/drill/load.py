"""`bulkhead load`: a load against the stack, from start to summary."""

import json
from dataclasses import dataclass

from bulkhead import rundir
from bulkhead.accounting.attempts import attempts
from bulkhead.accounting.load import check_writes, summarise
from bulkhead.control import record, stack
from bulkhead.control.start import Say
from bulkhead.drill import evidence, ledger, locust
from bulkhead.drill.evidence import Mark
from bulkhead.drill.ledger import Ledger
from bulkhead.drill.locust import Load
from bulkhead.errors import EvidenceError
from bulkhead.records import ClientRow, ProxyRow, read_rows
from bulkhead.render.paths import Home
from bulkhead.report import load as report
from bulkhead.rundir import RunDir
from bulkhead.topology.model import Topology


@dataclass(frozen=True)
class Result:
    """What a load came to. `failed` is whether anything failed, was lost or was done twice."""

    figures: dict[str, object]
    text: str
    failed: bool


def run(topology: Topology, asked: bool, load: Load, say: Say, colour: bool) -> Result:
    """Bring the stack up if it is down, load it, keep every row, and say what came of it.

    A stack that is up is loaded as it is, unless the user `asked` for settings on this command
    line: then they must be in force.

    Raises:
        StateError, StartError: the stack or Locust could not be started.
        EvidenceError: rows are missing, so that no figure can be given.
    """
    home = Home(topology.home)
    found = record.read(home)
    if asked or not (found and found.leads()):
        stack.up(topology, say)
    running = record.require_whole(home)
    topology = running.resolved()
    run_ = rundir.create(home.runs, "load")
    rundir.write_provenance(run_, dict(topology.file.model_dump(mode="json")), running.nginx)
    books = ledger.of_this_host(topology)
    since = evidence.mark([home], books)
    if load.ui_port is None:
        by = f" of {load.workers} workers" if load.workers > 1 else ""
        say(f"{load.users} users{by}, {load.shape}, for {load.seconds:g} s, against {topology.url}")
    else:
        say(f"Locust's web UI: http://127.0.0.1:{load.ui_port}   (Ctrl-C ends it and sums up)")
    locust.run(topology.root, topology.url, load, run_, say)
    evidence.keep(since, run_)
    return sum_up(run_, books, since, colour)


def sum_up(run_: RunDir, books: Ledger, since: Mark, colour: bool) -> Result:
    """What came of a load whose rows are in its run folder; write summary.json.

    Raises:
        EvidenceError: there are no rows, or the ledger cannot be read.
    """
    rows = list(read_rows(run_.client_rows, ClientRow))
    if not rows:
        raise EvidenceError(f"the load made no request; see {run_.locust_log}")
    summary = summarise(rows)
    writes = check_writes(rows, evidence.effects(books, since))
    seen = attempts(rows, read_rows(run_.proxy_rows, ProxyRow)) if _has_rows(run_) else None
    figures = report.as_dict(summary, writes, seen) | {"run": str(run_.path)}
    run_.summary_json.write_text(json.dumps(figures, indent=2) + "\n")
    text = report.text(summary, writes, seen, colour)
    where = f"\nrows, run.json and what Locust said: {run_.path}"
    wrong = (summary.all.failed, summary.all.indeterminate, writes.lost, writes.doubled)
    return Result(figures, text + where, any(wrong) or bool(seen and seen.unknown))


def _has_rows(run_: RunDir) -> bool:
    """Whether the stack writes rows at all (stack.rows)."""
    return run_.proxy_rows.exists()
