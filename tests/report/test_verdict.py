"""A verdict on a terminal."""

import re
from dataclasses import replace
from pathlib import Path

from duckdb import DuckDBPyConnection

from bulkhead.judge.verdict import Check, Verdict
from bulkhead.report.verdict import text
from bulkhead.rundir import RunDir
from tests.report.rich import VERDICT


def test_the_verdict_comes_first_and_then_what_decided_it(
    account: DuckDBPyConnection, storm: RunDir
) -> None:
    lines = text(VERDICT, account, storm).splitlines()
    assert lines[:11] == [
        "FAIL  kill-storm: A storm of kills, and one hang",
        "      24,000 requests, 106 failed, 4 indeterminate, 212 retried, 0 lost, 0 doubled, "
        "back within 0.35 s",
        "",
        "         check             figure                                            bound",
        "FAIL     failed_retryable  106                                               at most 0",
        "         106 retryable requests failed: refused_everywhere x 104, client_timeout x 2",
        "         such as t-77, t-2, no-such-<b>id</b>, ...",
        "INVALID  injected          14 of 15                                          all",
        "         injection 15 (nginx_worker of nginx) failed: no worker took its place",
        "         such as 15",
        "PASS     accounted         0 unaccounted                                     none",
    ]
    assert lines[-1] == f"see     bulkhead report {storm.path} --request t-77"


def test_phases_outcomes_and_causes_are_in_it(account: DuckDBPyConnection, storm: RunDir) -> None:
    shown = text(VERDICT, account, storm)
    for name in ("baseline (before)", "faults (during)", "recovery (after)", "p99.9"):
        assert name in shown
    for cause in ("refused_everywhere", "reset_not_retried", "client_timeout"):
        assert re.search(rf"^(failed|indeterminate) +{cause} +\d", shown, re.MULTILINE)
    assert f"run     {storm.path}" in shown


def test_it_fits_a_screen_and_names_what_does_not(
    account: DuckDBPyConnection, storm: RunDir
) -> None:
    many = tuple(Check(f"check_{number}", "PASS", "0", "none") for number in range(60))
    shown = text(replace(VERDICT, checks=many + VERDICT.checks), account, storm)
    assert shown.count("\n") <= 45
    ours = [line for line in shown.splitlines() if str(storm.path) not in line]
    assert max(map(len, ours)) <= 110
    assert "more: check_" in shown
    assert shown.index("FAIL     failed_retryable") < shown.index("PASS     check_0")


def test_without_colour_there_is_no_escape_and_with_it_the_same_words(
    account: DuckDBPyConnection, storm: RunDir
) -> None:
    assert "\x1b" not in text(VERDICT, account, storm)
    coloured = text(VERDICT, account, storm, colour=True)
    assert "\x1b[41m FAIL \x1b[0m" in coloured
    assert "\x1b[32mPASS\x1b[0m     accounted" in coloured


def test_a_run_without_a_drill_is_named_by_its_folder(
    account: DuckDBPyConnection, tmp_path: Path
) -> None:
    shown = text(Verdict("PASS", (), {}), account, RunDir(tmp_path))
    assert shown.startswith(f"PASS  {tmp_path.name}\n")


def test_hostile_words_of_a_check_are_escaped(account: DuckDBPyConnection, storm: RunDir) -> None:
    check = Check("x", "FAIL", "1\x1b[2J", "0", "\x1b]0;owned\x07", 1, ("\x1b[31m",))
    assert "\x1b" not in text(Verdict("FAIL", (check,), {}), account, storm)
