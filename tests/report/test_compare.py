"""Runs side by side."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bulkhead.errors import EvidenceError, UsageError
from bulkhead.judge.verdict import Verdict
from bulkhead.report.compare import as_dict, compare
from bulkhead.rundir import RunDir
from tests.report.rich import write_verdict

PASSED = Verdict("PASS", (), {})


def folder(path: Path, place: str, figures: dict[str, Any], **drill: Any) -> RunDir:
    run = RunDir(path / place)
    run.path.mkdir()
    run.drill_json.write_text(json.dumps({"name": "kill", "seed": 1} | drill))
    run.run_json.write_text(json.dumps({"configuration": {"stack": {"home": place}}}))
    write_verdict(run, replace(PASSED, figures=figures))
    return run


def test_each_run_is_a_column_with_its_ratio_to_the_first(tmp_path: Path) -> None:
    runs = [
        folder(tmp_path, "one", {"requests": 1000, "p99_faults_ms": 20.0, "settle_s": None}),
        folder(
            tmp_path, "two", {"requests": 1500, "p99_faults_ms": 5.0, "settle_s": 1.5}, name="x"
        ),
    ]
    assert compare(runs).splitlines()[:3] == ["1: one (kill)", "2: two (x)", ""]
    rows = {line.split()[0]: line.split()[1:] for line in compare(runs).splitlines()[3:]}
    assert rows == {
        "figure": ["1", "2"],
        "verdict": ["PASS", "PASS"],
        "requests": ["1,000", "1,500", "x1.50"],
        "p99_faults_ms": ["20.00", "5.00", "x0.25"],
        "settle_s": ["-", "1.50"],
    }


def test_repetitions_of_a_drill_get_a_column_of_medians(tmp_path: Path) -> None:
    runs = [
        folder(tmp_path, "one", {"recovery_s": 1.0, "lost": 0}, seed=1),
        folder(tmp_path, "other", {"recovery_s": 3.0, "lost": None}, name="hang"),
        folder(tmp_path, "two", {"recovery_s": 2.0, "lost": 0}, seed=2),
        folder(tmp_path, "three", {"recovery_s": 6.0, "lost": None}, seed=3),
    ]
    columns = as_dict(runs)["columns"]
    assert [(c["run"], c["series"], c["runs"]) for c in columns] == [
        ("one", 1, 1), ("two", 1, 1), ("three", 1, 1), ("", 1, 3), ("other", 2, 1)
    ]  # fmt: skip
    medians = columns[3]
    assert medians["figures"] == {"recovery_s": 2.0, "lost": 0}
    assert medians["ratios"] == {"recovery_s": 2.0, "lost": None}, "nothing is a multiple of 0"
    assert "medians of 3 runs (kill)" in compare(runs)


@pytest.mark.parametrize("change", ["configuration", "git"])
def test_another_configuration_or_commit_is_another_series(tmp_path: Path, change: str) -> None:
    runs = [folder(tmp_path, name, {"lost": 0}) for name in ("one", "two")]
    facts = json.loads(runs[1].run_json.read_text()) | {change: {"x": 1}}
    runs[1].run_json.write_text(json.dumps(facts))
    assert [column["series"] for column in as_dict(runs)["columns"]] == [1, 2]


def test_a_program_gets_json(tmp_path: Path) -> None:
    runs = [folder(tmp_path, "one", {"lost": 0, "settle_s": None})]
    assert json.loads(json.dumps(as_dict(runs))) == as_dict(runs)


def test_no_run_and_no_verdict_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        compare([])
    with pytest.raises(EvidenceError) as raised:
        compare([RunDir(tmp_path)])
    assert len(raised.value.lines) == 3
