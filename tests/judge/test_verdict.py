"""How checks make a verdict, and what a drill may write down as its bounds."""

import json
from dataclasses import asdict
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from bulkhead.judge.expect import Expect
from bulkhead.judge.verdict import Check, Ruling, Verdict, together, worst


def checks(*verdicts: Any) -> tuple[Check, ...]:
    return tuple(Check(f"check-{n}", one, "1", "at most 1") for n, one in enumerate(verdicts))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["PASS"], "PASS"),
        (["PASS", "INFO"], "PASS"),
        (["PASS", "INVALID", "PASS"], "INVALID"),
        (["INVALID", "FAIL", "PASS"], "FAIL"),
        (["FAIL", "INVALID"], "FAIL"),
        (["INFO"], "INVALID"),
        ([], "INVALID"),
    ],
)
def test_fail_outranks_invalid_outranks_pass(verdicts: list[str], expected: Ruling) -> None:
    assert together(checks(*verdicts)) == expected


def made(ruling: Ruling) -> Verdict:
    return Verdict(ruling, checks(ruling), {"failed": 1, "p99_faults_ms": None})


def test_exit_codes() -> None:
    assert [made(one).code for one in ("PASS", "FAIL", "INVALID")] == [0, 1, 2]
    assert worst([made("PASS"), made("PASS")]) == 0
    assert worst([made("PASS"), made("INVALID")]) == 2
    assert worst([made("INVALID"), made("FAIL"), made("PASS")]) == 1
    assert worst([]) == 2


def test_a_verdict_survives_its_file() -> None:
    check = Check("nothing_lost", "FAIL", "2 writes lost", "none", "2 writes lost", 2, ("a", "b"))
    verdict = Verdict("FAIL", (check,), {"lost": 2, "p99_faults_ms": 1.5, "recovery_s": None})
    text = json.dumps(asdict(verdict))
    assert msgspec.json.decode(text, type=Verdict) == verdict


def test_bounds_survive_drill_json() -> None:
    expect = Expect(
        failed_non_retryable=3, recovery_s=2, share={"api-1": [0, 0.5]}, causes=["shed"]
    )
    text = json.dumps(expect.model_dump(mode="json"))
    assert Expect.model_validate(json.loads(text)) == expect


@pytest.mark.parametrize(
    "bounds",
    [
        {"failed": 0},
        {"failed_non_retryable": -1},
        {"failed_non_retryable": 1.5},
        {"failed_non_retryable": "1"},
        {"p99_faults_ms": 0},
        {"p99_ratio": 0.9},
        {"retried_min": 0},
        {"min_requests": 49},
        {"share": {"api-1": [0.5]}},
        {"share": {"api-1": [0.5, 0.4]}},
        {"share": {"api-1": [0, 1.1]}},
    ],
)
def test_a_bound_that_makes_no_sense_is_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Expect.model_validate(bounds)
