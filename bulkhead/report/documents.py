"""The JSON documents of a run folder: what was run, where, and what was judged of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from bulkhead.errors import EvidenceError
from bulkhead.judge.verdict import Verdict
from bulkhead.rundir import RunDir

Shape = TypeVar("Shape")
Values = dict[str, Any]


@dataclass(frozen=True)
class Documents:
    """drill.json, run.json and verdict.json of one run."""

    drill: Values
    provenance: Values
    verdict: Verdict


def read(run: RunDir) -> Documents:
    """All three.

    Raises:
        EvidenceError: one is missing or is not what it should be; a line for each.
    """
    problems: list[str] = []
    drill = _one(run.drill_json, Values, "was this folder made by a drill?", problems)
    provenance = _one(run.run_json, Values, "it says which clock and which stack", problems)
    judged = _one(run.verdict_json, Verdict, f"first: bulkhead judge {run.path}", problems)
    if drill is None or provenance is None or judged is None:
        raise EvidenceError(*problems)
    return Documents(drill, provenance, judged)


def _one(path: Path, shape: type[Shape], advice: str, problems: list[str]) -> Shape | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=shape)
    except FileNotFoundError:
        problems.append(f"{path}: no such file ({advice})")
    except msgspec.DecodeError as error:
        problems.append(f"{path}: {error}")
    return None
