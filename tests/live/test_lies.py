"""A product that breaks a promise is found out, each by the check that speaks of it."""

import json
from pathlib import Path

import pytest

from tests.support.lying import LIES
from tests.support.stack import new_stack

pytestmark = [pytest.mark.live, pytest.mark.load]

STEADY = """
title = "a product for a test"
predicts = "PASS"
[load]
rate = 120
[phases]
warmup_s = 1
baseline_s = 2
faults_s = 0
recovery_s = 1
[expect]
min_requests = 100
late_p99_ms = 2000
late_baseline_ms = 2000
"""

# What is said of each: this check, and maybe others.
FOUND = {
    "drops_writes": "nothing_lost",
    "throws_values_away": "linearizable",
    "returns_empty_lists": "linearizable",
    "returns_old_lists": "linearizable",
    "reads_stale": "linearizable",
    "reads_nothing": "linearizable",
    "applies_twice": "nothing_doubled",
    "ignores_versions": "linearizable",
    "forgets_keys": "executions_agree",
    "writes_no_rows": "executions_known",
    "ends_no_row": "executions_known",
    "is_another_instance": "executions_known",
    "is_another_boot": "executions_known",
    "says_it_replayed": "executions_agree",
}


def test_every_lie_is_told() -> None:
    assert set(FOUND) == set(LIES)


@pytest.mark.parametrize("lie", FOUND)
def test_a_lie_is_found_out(tmp_path: Path, lie: str) -> None:
    drill = tmp_path / "steady.toml"
    drill.write_text(STEADY)
    settings = ("services.api.app=tests.support.lying", f'services.api.env={{LIE="{lie}"}}')
    with new_stack(tmp_path / "home") as stack:
        words = [word for one in settings for word in ("--set", one)]
        done = stack.bulkhead("drill", "--json", str(drill), *words, check=False)
        assert done.returncode in (1, 2), done.stdout + done.stderr
        (verdict,) = json.loads(done.stdout)
    broken = {one["name"] for one in verdict["checks"] if one["verdict"] in ("FAIL", "INVALID")}
    assert FOUND[lie] in broken, broken
