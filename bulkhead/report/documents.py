"""The JSON documents of a run folder: what was run, where, and what was judged of it."""

from typing import Any

import msgspec

from bulkhead.errors import EvidenceError
from bulkhead.judge.case import Row
from bulkhead.judge.verdict import Verdict
from bulkhead.rundir import RunDir


def read(run: RunDir) -> tuple[Row, Row, Verdict]:
    """drill.json, run.json and verdict.json.

    EvidenceError if one is missing or is not what it should be; a line for each.
    """
    found: list[Any] = []
    problems: list[str] = []
    for path, shape, advice in (
        (run.drill_json, Row, "was this folder made by a drill?"),
        (run.run_json, Row, "it says which clock and which stack"),
        (run.verdict_json, Verdict, f"first: bulkhead judge {run.path}"),
    ):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=shape))
        except FileNotFoundError:
            problems.append(f"{path}: no such file ({advice})")
        except msgspec.DecodeError as error:
            problems.append(f"{path}: {error}")
    if problems:
        raise EvidenceError(*problems)
    drill, facts, verdict = found
    return drill, facts, verdict
