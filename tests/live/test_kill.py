"""Kill tests under running Locust load, over the real services. With `-s` each prints its figures.

Each kills one process three times during a load and looks at every single request afterwards: no
retryable request failed, no acknowledged write is lost, none was done twice, the process is back,
and nothing else was touched.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkhead import proc
from bulkhead.clock import now
from bulkhead.records import ClientRow, ProxyRow, read_rows
from bulkhead.supervise import record
from bulkhead.supervise.status import status
from bulkhead.testing import wait_until
from tests.support.stack import ROOT, Stack, running_stack

pytestmark = [pytest.mark.live, pytest.mark.load]

# So little thinking that every process is busy when it is killed.
USERS, PACE, KILLS = 80, 0.1, 3
ENOUGH = 200
# The load lasts until everything is ready again, however slow the machine, and this much longer.
AFTER_S, AT_MOST_S = 3, 90
# Shorter than the watchdog lets anybody stay stopped.
FROZEN_S = 0.1
# How far apart two processes' readings of one moment may be.
SLACK_S = 0.2

Status = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The real services; one stack for all kills, as in production."""
    with running_stack(tmp_path_factory.mktemp("kill") / "home") as running:
        running.expected_alerts = r"worker process \d+ exited on signal 9"  # it is what we do
        yield running


@dataclass(frozen=True)
class Killed:
    """What a load with some kills in it left to look at."""

    at: list[float]
    frozen: list[float]
    ready: float  # when everything was ready again after the last kill
    rows: list[ClientRow]
    proxy: dict[str, ProxyRow]
    summary: dict[str, Any]
    before: Status
    after: Status

    @property
    def retried(self) -> list[ProxyRow]:
        """Requests that nginx had to try more than once."""
        return [row for row in self.proxy.values() if "," in row.statuses]

    @property
    def failed(self) -> list[ClientRow]:
        """Requests without a whole answer, or with one that is the stack's fault."""
        return [row for row in self.rows if row.error or row.wrong or row.status >= 500]

    def pids(self, status: Status, without: str) -> dict[str, tuple[int, ...]]:
        """Every process and its workers, except one and its workers."""
        return {
            name: (one["pid"], *one["workers"]) for name, one in status.items() if name != without
        }


def kill_under_load(
    stack: Stack, victim: Callable[[Status], int], number: signal.Signals
) -> Killed:
    before = stack.status()
    load = subprocess.Popen(
        [
            sys.executable, "-m", "bulkhead.cli", "load", "--json",
            "--time", str(AT_MOST_S), "--users", str(USERS), "--pace", str(PACE),
        ],
        cwd=ROOT,
        env={"BULKHEAD_SET": " ".join(stack.settings), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    rows = wait_until("a run folder with rows", lambda: growing_rows(stack))
    wait_until("enough load before the kill", lambda: rows.read_bytes().count(b"\n") > ENOUGH)
    frozen, at = map(list, zip(*(kill(stack, victim, number) for _ in range(KILLS)), strict=True))
    ready = now()
    wait_until("load on all that is ready again", lambda: now() - ready > AFTER_S)
    assert load.poll() is None, "the load ended before the last kill was over"
    load.send_signal(signal.SIGINT)  # Ctrl-C: it sums up what was recorded
    out, said = load.communicate(timeout=60)
    assert load.returncode in (0, 1), said
    run = rows.parent
    client = list(read_rows(rows, ClientRow))
    ids = {row.id for row in client}
    proxy = {row.id: row for row in read_rows(run / "proxy.jsonl", ProxyRow) if row.id in ids}
    assert sum(row.sent < at[0] for row in client) > ENOUGH, "no load before the kills"
    assert sum(row.sent > ready for row in client) > ENOUGH, "no load after the kills"
    killed = Killed(at, frozen, ready, client, proxy, json.loads(out), before, stack.status())
    print(
        f"{len(client)} requests, {len(killed.failed)} failed, {len(killed.retried)} retried, "
        f"{killed.summary['writes']['acknowledged']} writes acknowledged, "
        f"{len(killed.summary['writes']['lost'])} lost, "
        f"{len(killed.summary['writes']['doubled'])} doubled"
    )
    return killed


def kill(
    stack: Stack, victim: Callable[[Status], int], number: signal.Signals
) -> tuple[float, float]:
    """Kill one process, and wait until everything is ready again.

    Returns when it last did anything (it is frozen before SIGKILL) and when it was killed.
    Asking for the status wakes supervisord, so nothing here says how fast it recovers by itself.
    """
    pid = victim(look(stack))
    found = proc.find(pid)
    assert found, "the victim has died before it was killed"
    frozen = now()
    if number == signal.SIGKILL:
        # Frozen for a moment it fills up: whoever is killed now surely has requests in hand.
        assert proc.send(found, signal.SIGSTOP)
        wait_until("requests for the frozen process", lambda: now() - frozen > FROZEN_S)
    at = now()
    # On a slow machine the watchdog may have come first: it kills what is stopped, as we do.
    assert proc.send(found, number) or number == signal.SIGKILL
    assert proc.wait_gone(found, 15), "it does not die"

    def all_ready() -> bool:
        seen = look(stack)
        return all(one["ready"] for one in seen.values()) and victim(seen) != pid

    wait_until("everything is ready again", all_ready, timeout_s=15)
    return frozen, at


def look(stack: Stack) -> Status:
    """As `bulkhead status --json`, but without another process beside the load."""
    found = record.require(stack.home)
    return {one.name: asdict(one) for one in status(found).processes}


def growing_rows(stack: Stack) -> Path | None:
    """The client rows of the run that is under way: the one that has no summary yet."""
    for rows in stack.home.runs.glob("*/client.jsonl"):
        if rows.stat().st_size and not (rows.parent / "summary.json").exists():
            return rows
    return None


def assert_kept_its_promises(killed: Killed, without: str) -> None:
    """What must hold in every kill test."""
    writes = killed.summary["writes"]
    assert (writes["lost"], writes["doubled"]) == ([], [])
    assert writes["acknowledged"] > ENOUGH, "too few writes to say anything"
    untouched = killed.pids(killed.before, without)
    assert killed.pids(killed.after, without) == untouched
    assert len(untouched) == 8


def assert_nothing_failed(killed: Killed) -> None:
    """For every kill but that of a proxy's worker, which takes its clients' connections along."""
    assert killed.failed == []
    assert killed.summary["proxy"]["unknown"] == []


def assert_restarted(killed: Killed, name: str) -> None:
    """It is another process now, as often as it was killed, and gets its requests again."""
    before, after = killed.before[name], killed.after[name]
    assert after["pid"] != before["pid"]
    assert not set(after["workers"]) & set(before["workers"])
    assert after["restarts"] == before["restarts"] + KILLS
    late = [row for row in killed.rows if row.sent > killed.ready]
    assert any(row.instance == name for row in late), f"{name} gets no requests"


BOTH = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])


@BOTH
@pytest.mark.parametrize("name", ["api-2", "web-1"], ids=["tornado", "gunicorn-master"])
def test_an_instance(stack: Stack, name: str, number: signal.Signals) -> None:
    killed = kill_under_load(stack, lambda status: int(status[name]["pid"]), number)
    assert_nothing_failed(killed)
    if name == "api-2" and number == signal.SIGKILL:
        # Else its processes finish what they have, and nginx is told before anybody is refused.
        assert killed.retried, "nobody noticed the kills, so the test shows nothing"
    assert_kept_its_promises(killed, name)
    assert_restarted(killed, name)


@BOTH
def test_a_gunicorn_worker(stack: Stack, number: signal.Signals) -> None:
    """The master's listener stays: only what was in flight in the killed worker is retried."""
    killed = kill_under_load(stack, lambda status: int(status["web-2"]["workers"][0]), number)
    assert_nothing_failed(killed)
    if number == signal.SIGKILL:  # on SIGTERM it drains, and nobody has to notice
        assert killed.retried, "nobody noticed the kills, so the test shows nothing"
    assert_kept_its_promises(killed, "web-2")
    before, after = killed.before["web-2"], killed.after["web-2"]
    assert (after["pid"], after["restarts"]) == (before["pid"], before["restarts"])
    assert len(after["workers"]) == 2
    assert before["workers"][0] not in after["workers"]


@BOTH
def test_an_nginx_worker(stack: Stack, number: signal.Signals) -> None:
    """Its own connections die with it: each user has at most one, and no other request failed."""
    killed = kill_under_load(stack, lambda status: int(status["nginx"]["workers"][0]), number)
    for row in killed.failed:
        assert row.error in ("reset", "closed"), row
        assert row.id not in killed.proxy, "nginx answered it, so the worker had not died with it"
        assert any(row.sent - SLACK_S < at < row.done + SLACK_S for at in killed.at), row
    assert len(killed.failed) <= KILLS * USERS
    ended = {row.id: row.done for row in killed.rows}
    for request_id in killed.summary["proxy"]["unknown"]:
        # Answered, and never logged: nginx writes the row after it has sent the answer, and it was
        # frozen, and then killed, between the two.
        assert any(
            frozen - SLACK_S < ended[request_id] < at + SLACK_S
            for frozen, at in zip(killed.frozen, killed.at, strict=True)
        ), request_id
    assert_kept_its_promises(killed, "nginx")
    before, after = killed.before["nginx"], killed.after["nginx"]
    assert (after["pid"], after["restarts"]) == (before["pid"], before["restarts"])
    assert len(after["workers"]) == 2
    assert before["workers"][0] not in after["workers"]


def test_the_nginx_master(stack: Stack) -> None:
    """Its workers serve on, the next master has the same sockets, and they leave in peace."""
    killed = kill_under_load(stack, lambda status: int(status["nginx"]["pid"]), signal.SIGKILL)
    assert_nothing_failed(killed)
    assert_kept_its_promises(killed, "nginx")
    before, after = killed.before["nginx"], killed.after["nginx"]
    assert after["restarts"] == before["restarts"] + KILLS
    assert len(after["workers"]) == 2
    assert not set(after["workers"]) & set(before["workers"])


def test_supervisord(stack: Stack) -> None:
    """Nobody who serves has anything to do with it."""
    killed = kill_under_load(
        stack, lambda status: int(status["supervisord"]["pid"]), signal.SIGKILL
    )
    assert_nothing_failed(killed)
    assert killed.retried == []
    assert_kept_its_promises(killed, "supervisord")
    before, after = killed.before["supervisord"], killed.after["supervisord"]
    assert after["restarts"] == before["restarts"] + KILLS
