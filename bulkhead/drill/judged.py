"""From a run folder's rows to its verdict.json; no stack is needed."""

import json

import duckdb

from bulkhead.accounting import account
from bulkhead.errors import EvidenceError
from bulkhead.judge.expect import Expect
from bulkhead.judge.judge import judge
from bulkhead.judge.verdict import Verdict
from bulkhead.rundir import RunDir


def judged(run: RunDir) -> Verdict:
    """Reconcile the rows of a run, judge them by what its drill expects, write verdict.json.

    Raises:
        EvidenceError: a file is missing, a line of it is no row, or the disk is full.
    """
    drill = json.loads(run.drill_json.read_text())
    expect = Expect.model_validate(drill["expect"])
    planned = sum(one["times"] for one in drill["faults"])
    try:
        with account.opened(run) as rows:
            verdict = judge(rows, expect, planned)
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        raise EvidenceError(f"{run.account}: {error}") from error
    run.verdict_json.write_text(json.dumps(verdict.as_dict(), indent=2) + "\n")
    return verdict
