"""Drills over real stacks, by the real command: good ones pass, and broken parts are found out."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from bulkhead.records import ClientRow, read_rows
from bulkhead.testing import wait_until
from tests.support.stack import ROOT, Stack, new_stack

pytestmark = [pytest.mark.live, pytest.mark.load]

# Short, and slow enough for a busy machine; the bounds are the default ones: nothing may fail.
SHORT = """
# A drill for a test.
title = "a drill for a test"
predicts = "PASS"
[load]
rate = 120
[phases]
warmup_s = 1
baseline_s = 3
faults_s = {faults_s}
recovery_s = 2
[expect]
min_requests = 300
late_p99_ms = 1000
late_baseline_ms = 1000
"""
FAULT = """
[[faults]]
fault = "{fault}"
target = "{target}"
"""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A home and ports for a drill's own stack."""
    with new_stack(tmp_path / "home") as stack:
        yield stack


def drill_file(
    folder: Path,
    fault: str = "",
    target: str = "",
    more: str = "",
    expect: str = "",
    faults_s: int = 4,
) -> Path:
    path = folder / "short.toml"
    faults = FAULT.format(fault=fault, target=target) if fault else ""
    path.write_text(SHORT.format(faults_s=faults_s if fault else 0) + expect + faults + more)
    return path


def run(stack: Stack, *words: str, code: int) -> dict[str, Any]:
    """Run a drill; its verdict, and every check by its name."""
    done = stack.bulkhead("drill", "--json", *words, check=False)
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    (verdict,) = json.loads(done.stdout)
    verdict["checks"] = {one["name"]: one for one in verdict["checks"]}
    assert {0: "PASS", 1: "FAIL", 2: "INVALID"}[code] == verdict["verdict"]
    return verdict  # type: ignore[no-any-return]


def broken(verdict: dict[str, Any]) -> set[str]:
    return {name for name, one in verdict["checks"].items() if one["verdict"] == "FAIL"}


def test_a_kill_is_survived_and_the_run_can_be_judged_elsewhere(
    stack: Stack, tmp_path: Path
) -> None:
    kill = drill_file(tmp_path, "kill", "any api", "params = { freeze_s = 0.3 }\n")
    junit = tmp_path / "junit.xml"
    # One of two, and so many requests that it surely has some when the watchdog sees it frozen.
    often = ["--set", "services.api.instances=2", "--set", "drill.load.rate=240"]
    verdict = run(stack, str(kill), *often, "--junit", str(junit), code=0)
    assert verdict["figures"]["confirmed"] == 1
    assert verdict["figures"]["retried"] > 0
    assert "<testsuite " in junit.read_text()
    assert not (stack.home.path / "drill" / "run" / "stack.json").exists(), "its stack is still up"

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(verdict["run"], elsewhere)
    (elsewhere / "account.duckdb").unlink()
    (elsewhere / "verdict.json").unlink()
    again = stack.bulkhead("judge", str(elsewhere), "--json")
    assert json.loads(again.stdout)["figures"] == verdict["figures"]

    lines = len((elsewhere / "client.jsonl").read_text().splitlines())
    counted = stack.bulkhead("sql", str(elsewhere), "select count(*) n from requests", "--json")
    assert json.loads(counted.stdout) == {"n": lines}
    assert json.loads(counted.stdout) == {"n": verdict["figures"]["requests"]}
    assert "p99_faults_ms" in stack.bulkhead("compare", verdict["run"], str(elsewhere)).stdout
    page = Path(stack.bulkhead("report", str(elsewhere)).stdout.strip())
    assert "a drill for a test" in page.read_text()
    moved = "select id from requests where retried limit 1"
    found = json.loads(stack.bulkhead("sql", str(elsewhere), moved, "--json").stdout)
    story = stack.bulkhead("report", str(elsewhere), "--request", found["id"]).stdout
    assert found["id"] in story


def test_a_service_that_acknowledges_before_it_commits_is_found_out(
    stack: Stack, tmp_path: Path
) -> None:
    kill = drill_file(tmp_path, "kill", "all api", "every_s = 3\ntimes = 2\n")
    early = "services.api.app=tests.support.acks_early"
    verdict = run(stack, str(kill), "--set", early, code=1)
    assert "nothing_lost" in broken(verdict)
    assert verdict["figures"]["lost"] > 0


# Shorter than the hang; and least_conn would soon send the hung instance nothing more. A watchdog
# would kill it before it could go on and do late what was done elsewhere.
SETTINGS = (
    "stack.watch=false",
    "proxy.balancer=nginx",
    "services.api.timeout_s=1",
    "services.api.policy=round_robin",
)
HANGING = tuple(word for one in SETTINGS for word in ("--set", one))
ENOUGH = 10


def test_a_service_that_ignores_the_key_is_found_out(stack: Stack, tmp_path: Path) -> None:
    # What the hung instance has in hand is done elsewhere, and then once more when it goes on.
    hang = drill_file(tmp_path, "hang", "any api", "duration_s = 2.5\n")
    broken_one = "services.api.app=tests.support.ignores_keys"
    verdict = run(stack, str(hang), *HANGING, "--set", broken_one, code=1)
    assert "nothing_doubled" in broken(verdict)
    assert verdict["figures"]["retried"] > ENOUGH
    assert verdict["figures"]["doubled"] > 0


def test_the_same_hang_doubles_nothing_in_the_real_service(stack: Stack, tmp_path: Path) -> None:
    """The proof that the test above shows the service's fault and not the drill's."""
    hang = drill_file(tmp_path, "hang", "any api", "duration_s = 2.5\n")
    verdict = run(stack, str(hang), *HANGING, code=0)
    assert verdict["figures"]["retried"] > ENOUGH
    assert verdict["figures"]["doubled"] == 0


def test_a_client_that_sends_again_is_found_out(stack: Stack, tmp_path: Path) -> None:
    steady = drill_file(tmp_path)
    again = 'drill.load.locustfile="tests/support/resending.py"'
    verdict = run(stack, str(steady), "--set", again, code=1)
    assert "sent_once" in broken(verdict)
    assert verdict["figures"]["resent"] > 0


def test_a_hang_becomes_a_crash_that_the_report_tells_of(stack: Stack, tmp_path: Path) -> None:
    hang = drill_file(tmp_path, "hang", "any api", "duration_s = 3\n", "hang_kills_min = 1\n")
    verdict = run(stack, str(hang), code=0)
    folder = Path(verdict["run"])
    kinds = [json.loads(line)["kind"] for line in (folder / "watch.jsonl").read_text().splitlines()]
    assert [kind for kind in kinds if kind in ("hang", "exit", "ready")] == [
        "hang",
        "exit",
        "ready",
    ]
    assert verdict["figures"]["hang_kills"] == 1
    assert "watchdog: hang api-" in (folder / "report.html").read_text()


def test_all_instances_die_and_everybody_waits_for_them(stack: Stack, tmp_path: Path) -> None:
    kill = drill_file(tmp_path, "kill", "all api", "", "queued_min = 1\n")
    verdict = run(stack, str(kill), code=0)
    assert verdict["figures"]["queued"] > 0
    found = stack.bulkhead(
        "sql", verdict["run"], "select count(*) n from proxy where gave_up <> ''", "--json"
    )
    assert json.loads(found.stdout) == {"n": 0}


def test_a_phase_has_the_rate_that_it_is_to_have(stack: Stack, tmp_path: Path) -> None:
    noop = drill_file(tmp_path, "noop", "any api")
    faster = ("--set", "drill.load.rates.faults=360")
    verdict = run(stack, str(noop), *faster, code=0)
    sql = (
        "select phase, count(*) / (any_value(p.ended) - any_value(p.began)) as rate"
        " from requests join phases as p on p.name = phase"
        " where phase in ('baseline', 'faults', 'recovery') group by phase order by phase"
    )
    lines = stack.bulkhead("sql", verdict["run"], sql, "--json").stdout.splitlines()
    rates = {one["phase"]: one["rate"] for one in map(json.loads, lines)}
    assert rates == {
        "baseline": pytest.approx(120, rel=0.3),
        "faults": pytest.approx(360, rel=0.2),
        "recovery": pytest.approx(120, rel=0.4),
    }


def test_several_workers_carry_out_one_schedule(stack: Stack, tmp_path: Path) -> None:
    """Every arrival until the stop, by three processes; which of them stops first is chance."""
    kill = drill_file(tmp_path, "kill", "any api")
    verdict = run(stack, str(kill), "--set", "drill.load.workers=3", code=0)
    folder = Path(verdict["run"])
    rows = list(read_rows(folder / "client.jsonl", ClientRow))
    assert len(rows) == verdict["figures"]["requests"]
    workers = defaultdict(list)
    for row in rows:
        worker, _, number = row.id.partition("-")
        workers[worker].append(int(number))
    assert sorted(min(numbers) for numbers in workers.values()) == [1, 2, 3]
    for numbers in workers.values():
        assert sorted(numbers) == list(range(min(numbers), max(numbers) + 1, 3)), "a hole"
    assert max(max(each) for each in workers.values()) - len(rows) < 0.1 * len(rows)
    assert not list(folder.glob("client-*"))


def test_a_drill_whose_load_loses_a_worker_gives_no_verdict(stack: Stack, tmp_path: Path) -> None:
    words = (str(drill_file(tmp_path)), "--set", "drill.load.workers=2")
    with subprocess.Popen(
        [sys.executable, "-m", "bulkhead.cli", "drill", *words],
        cwd=ROOT,
        env={**os.environ, "BULKHEAD_SET": " ".join(stack.settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as drill:
        assert drill.stdout
        for line in drill.stdout:
            if "baseline" in line:
                break
        children = psutil.Process(drill.pid).children()
        locust = [child for child in children if "locust" in child.cmdline()]
        workers = [child for child in locust if "--worker" in child.cmdline()]
        killed = min(workers, key=lambda child: child.pid)
        killed.kill()
        _, said = drill.communicate(timeout=60)
    assert drill.returncode == 7, said
    assert f"worker 0 of the load (pid {killed.pid}) was killed by SIGKILL: rows" in said
    assert len(said.splitlines()) == 1
    assert len(locust) == 3
    assert not any(child.is_running() for child in locust)


def test_rows_that_are_rotated_under_a_run_are_all_there(stack: Stack, tmp_path: Path) -> None:
    rotate = drill_file(tmp_path, "rotate", "files", "every_s = 1.5\ntimes = 3\n")
    verdict = run(stack, str(rotate), code=0)
    assert verdict["figures"]["confirmed"] == 3
    rows = stack.home.path / "drill" / "rows"
    assert [path.name for path in sorted(rows.glob("proxy.jsonl.[0-9]"))] == [
        f"proxy.jsonl.{number}" for number in (1, 2, 3)
    ]


# As drills/soak.toml, in as many seconds as that has minutes.
SOAK = """
every_s = 2
times = 7
random = true
[[faults]]
fault = "kill_worker"
target = "any web"
every_s = 7
times = 2
random = true
[[faults]]
fault = "hang"
target = "any api"
every_s = 13
duration_s = 2
random = true
[[faults]]
fault = "kill_watch"
target = "watch"
at_s = 3
[[faults]]
fault = "kill_supervisord"
target = "supervisord"
at_s = 9
"""


def test_a_short_soak_is_survived(stack: Stack, tmp_path: Path) -> None:
    soak = drill_file(tmp_path, "kill", "any api", SOAK, faults_s=15)
    verdict = run(stack, str(soak), code=0)
    assert verdict["figures"]["injections"] == 12
    assert verdict["figures"]["confirmed"] >= 10


def test_a_run_too_small_to_mean_anything_is_invalid(stack: Stack, tmp_path: Path) -> None:
    steady = drill_file(tmp_path)
    verdict = run(stack, str(steady), "--set", "drill.expect.min_requests=100000", code=2)
    assert verdict["checks"]["load_sufficient"]["verdict"] == "INVALID"


def test_here_uses_the_stack_that_is_up_and_leaves_it_up(stack: Stack, tmp_path: Path) -> None:
    stack.bulkhead("up")
    before = {name: one["pid"] for name, one in stack.status().items()}
    run(stack, str(drill_file(tmp_path)), "--here", code=0)
    assert {name: one["pid"] for name, one in stack.status().items()} == before
    needs = stack.bulkhead("drill", "nginx-defaults", "--here", check=False)
    assert needs.returncode == 3
    assert "is not in force in the stack that is up" in needs.stderr
    other = ("--set", "services.api.policy=round_robin")
    assert stack.bulkhead("drill", "steady", "--here", *other, check=False).returncode == 3


@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGTERM] * 2], ids=["non_retryable", "twice"]
)
def test_a_signal_undoes_the_fault_and_stops_everything(
    stack: Stack, tmp_path: Path, signals: list[signal.Signals]
) -> None:
    hang = drill_file(tmp_path, "hang", "all api", "duration_s = 3600\n")
    child = subprocess.Popen(
        [sys.executable, "-m", "bulkhead.cli", "drill", str(hang)],
        cwd=ROOT,
        env={**os.environ, "BULKHEAD_SET": " ".join(stack.settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def events(kind: str) -> list[str]:
        found = [path.read_text() for path in stack.home.runs.glob("*/events.jsonl")]
        return [line for text in found for line in text.splitlines() if f'"{kind}"' in line]

    wait_until(
        "the fault is confirmed", lambda: events("confirmed") or child.poll() is not None, 40
    )
    assert child.poll() is None, "".join(child.communicate())
    for number in signals:  # a person who sees nothing happen presses it again
        child.send_signal(number)
        wait_until("it has been taken", partial(taken, child.pid, number))
    out, said = child.communicate(timeout=60)
    assert child.returncode == 128 + signals[0], out + said
    assert f"ended by {signals[0].name}" in said
    assert events("healed"), out + said
    assert not (stack.home.path / "drill" / "run" / "stack.json").exists(), "its stack is still up"


def taken(pid: int, number: signal.Signals) -> bool:
    """Whether the signal waits for nobody any more (proc(5), ShdPnd)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd:"))
    return not int(mask, 16) >> (number - 1) & 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["drill", "kill-won"], 2, "drill kill-won: no such drill; did you mean kill-one?"),
        (["drill", "steady", "--seed", "-1"], 2, "drill: --seed -1: must be from 0 to"),
        (["drill", "steady", "--repeat", "0"], 2, "drill: --repeat 0: must be 1 to 100"),
        (
            ["drill", "slow-one", "--set", "stack.admin=false"],
            5,
            "slow-one.toml: slow: the services have no admin sockets: stack.admin is false",
        ),
        (["drill", "steady", "--here"], 5, "is not up: run `make up`"),
        (["drill", "steady", "--set", "drill.load.rate=-1"], 3, "load.rate = -1: must be greater"),
        (["drill", "steady", "--set", "stack.rows=false"], 3, "stack.rows = false: a drill"),
        (["judge", "nowhere"], 2, "nowhere: is not the run folder of a drill"),
        (["sql", "nowhere", "select 1"], 2, "nowhere: is not the run folder: it has no client"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_a_wrong_command_gets_one_clear_line(
    stack: Stack, words: list[str], code: int, said: str
) -> None:
    done = stack.bulkhead(*words, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(stack.home.runs.glob("*")) == []
