"""A verdict: one Check for each rule, and the verdict that they make together.

FAIL outranks INVALID outranks PASS: what the stack is proved to have done wrong stays wrong,
however poor the rest of the evidence is; and no evidence is never a pass.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from bulkhead.errors import EvidenceError
from bulkhead.rundir import RunDir

Document = dict[str, Any]
Ruling = Literal["PASS", "FAIL", "INVALID"]

RANK: tuple[Ruling, ...] = ("PASS", "INVALID", "FAIL")
# As they are shown: first the checks that decide.
DECIDING = ("FAIL", "INVALID")
SHOWN = (*DECIDING, "PASS", "INFO")
CODES: Mapping[Ruling, int] = {"PASS": 0, "FAIL": 1, "INVALID": 2}


@dataclass(frozen=True)
class Check:
    """The result of one rule. An INFO is a figure worth knowing that decides nothing."""

    name: str
    verdict: Ruling | Literal["INFO"]
    figure: str
    """The number that was counted or measured."""
    bound: str
    """The bound on the figure."""
    message: str = ""
    """The defect, in a sentence; "" when there is none."""
    count: int = 0
    """How many requests, or other things, offend."""
    examples: tuple[str, ...] = ()
    """Up to 20 of them: request ids, wherever the rule is about requests."""


@dataclass(frozen=True)
class Verdict:
    """The verdict of a run, the checks that made it, and the run's figures.

    A figure that the run cannot give is None.
    """

    verdict: Ruling
    checks: tuple[Check, ...]
    figures: dict[str, float | int | None]

    @property
    def code(self) -> int:
        """The exit code that tells a script: PASS 0, FAIL 1, INVALID 2."""
        return CODES[self.verdict]


def together(checks: Iterable[Check]) -> Ruling:
    """The verdict of these checks. Nothing checked is nothing known: INVALID."""
    found = {check.verdict for check in checks}
    return next((one for one in reversed(RANK) if one in found), "INVALID")


def worst(verdicts: Iterable[Verdict]) -> int:
    """The exit code of several runs: that of the one that outranks the others."""
    found = [one.verdict for one in verdicts]
    return CODES[max(found, key=RANK.index, default="INVALID")]


def documents(run: RunDir) -> tuple[Document, Document, Verdict]:
    """drill.json, run.json and verdict.json.

    EvidenceError if one is missing or is not what it should be; a line for each.
    """
    found: list[Any] = []
    problems: list[str] = []
    for path, shape, advice in (
        (run.drill_json, Document, "was this folder made by a drill?"),
        (run.run_json, Document, "it says which clock and which stack"),
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
