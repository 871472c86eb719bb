"""Kill tests under running Locust load, over the real services.

Each kills one process in the middle of a load and looks at every single request afterwards: no
repeatable request failed, no acknowledged write is lost, none was done twice, the process is back,
and nothing else was touched.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkhead.clock import now
from bulkhead.control import process
from bulkhead.records import ClientRow, ProxyRow, read_rows
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.waiting import wait_until

pytestmark = pytest.mark.live

LOAD_S, USERS, PACE = 7, 60, 0.3
ENOUGH = 200


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real services; one stack for all kills, as in production."""
    with running_stack(tmp_path_factory.mktemp("kill") / "home") as running:
        running.expected_alerts = r"worker process \d+ exited on signal 9"  # it is what we do
        yield running


@dataclass(frozen=True)
class Killed:
    """What a load with one kill in it left to look at."""

    at: float
    rows: list[ClientRow]
    proxy: dict[str, ProxyRow]
    summary: dict[str, Any]
    before: dict[str, dict[str, Any]]
    after: dict[str, dict[str, Any]]

    @property
    def moved_on(self) -> list[ProxyRow]:
        """Requests that nginx had to try more than once."""
        return [row for row in self.proxy.values() if "," in row.statuses]

    @property
    def failed(self) -> list[ClientRow]:
        """Requests without a whole answer, or with one that is the stack's fault."""
        return [row for row in self.rows if row.error or row.wrong or row.status >= 500]


def kill_under_load(stack: Stack, victim: int, number: signal.Signals) -> Killed:
    before = stack.status()
    load = subprocess.Popen(
        [
            sys.executable, "-m", "bulkhead.cli", "load", "--json",
            "--time", str(LOAD_S), "--users", str(USERS), "--pace", str(PACE),
        ],
        cwd=ROOT,
        env={"BULKHEAD_SET": " ".join(stack.settings), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    rows = wait_until("a run folder with rows", lambda: growing_rows(stack))
    wait_until("enough load before the kill", lambda: rows.read_bytes().count(b"\n") > ENOUGH)
    found = process.find(victim)
    assert found, "the victim has died before it was killed"
    at = now()
    assert process.send(found, number)
    out, said = load.communicate(timeout=60)
    assert load.returncode in (0, 1), said
    assert not process.alive(found)
    wait_until(
        "everything is ready again",
        lambda: all(one["ready"] for one in stack.status().values()),
        timeout_s=15,
    )
    run = rows.parent
    client = list(read_rows(rows, ClientRow))
    ids = {row.id for row in client}
    proxy = {row.id: row for row in read_rows(run / "proxy.jsonl", ProxyRow) if row.id in ids}
    assert sum(row.sent < at for row in client) > ENOUGH, "no load before the kill"
    assert sum(row.sent > at + 1 for row in client) > ENOUGH, "no load after the kill"
    return Killed(at, client, proxy, json.loads(out), before, stack.status())


def growing_rows(stack: Stack) -> Path | None:
    """The client rows of the run that is under way: the one that has no summary yet."""
    for rows in stack.home.runs.glob("*/client.jsonl"):
        if rows.stat().st_size and not (rows.parent / "summary.json").exists():
            return rows
    return None


def assert_kept_its_promises(killed: Killed) -> None:
    """What must hold in every kill test."""
    assert killed.summary["proxy"]["unknown"] == []
    writes = killed.summary["writes"]
    assert (writes["lost"], writes["doubled"]) == ([], [])
    assert writes["acknowledged"] > ENOUGH, "too few writes to say anything"


def assert_only_this_was_restarted(killed: Killed, name: str) -> None:
    pids = {one: found["pid"] for one, found in killed.before.items()}
    changed = {one for one, found in killed.after.items() if found["pid"] != pids[one]}
    assert changed == {name}
    assert killed.after[name]["restarts"] == killed.before[name]["restarts"] + 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_tornado_instance(stack: Stack, number: signal.Signals) -> None:
    killed = kill_under_load(stack, stack.status()["api-2"]["pid"], number)
    assert killed.failed == []
    assert killed.moved_on, "nobody noticed the kill, so the test shows nothing"
    assert_kept_its_promises(killed)
    assert_only_this_was_restarted(killed, "api-2")
    late = {row.instance for row in killed.rows if row.sent > killed.at + 3}
    assert "api-2" in late, "it is back, but gets no requests"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_gunicorn_master(stack: Stack, number: signal.Signals) -> None:
    killed = kill_under_load(stack, stack.status()["web-1"]["pid"], number)
    assert killed.failed == []
    for since, until in ((0.0, killed.at), (killed.at + 2, float("inf"))):
        answers = [row for row in killed.rows if since < row.sent < until]
        assert any(row.instance == "web-1" for row in answers), "web-1 gets no requests"
    assert_kept_its_promises(killed)
    assert_only_this_was_restarted(killed, "web-1")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_gunicorn_worker(stack: Stack, number: signal.Signals) -> None:
    victim = stack.status()["web-2"]["workers"][0]
    killed = kill_under_load(stack, victim, number)
    assert killed.failed == []
    assert_kept_its_promises(killed)
    pids = {one: found["pid"] for one, found in killed.before.items()}
    assert {one: found["pid"] for one, found in killed.after.items()} == pids
    workers = killed.after["web-2"]["workers"]
    assert len(workers) == 2
    assert victim not in workers


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_nginx_worker(stack: Stack, number: signal.Signals) -> None:
    """Its own connections die with it: each user had at most one, and no other request failed."""
    victim = stack.status()["nginx"]["workers"][0]
    killed = kill_under_load(stack, victim, number)
    assert {row.error for row in killed.failed} <= {"reset", "closed"}
    for row in killed.failed:
        assert row.sent <= killed.at + 0.1 <= row.done + 0.2, "not a victim of this kill"
        assert row.id not in killed.proxy, "nginx answered it, so the worker had not died with it"
    assert len(killed.failed) <= USERS
    assert_kept_its_promises(killed)
    pids = {one: found["pid"] for one, found in killed.before.items()}
    assert {one: found["pid"] for one, found in killed.after.items()} == pids
    assert victim not in killed.after["nginx"]["workers"]
    assert len(killed.after["nginx"]["workers"]) == 2
