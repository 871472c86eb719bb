"""What a health check asks: an instance that cannot start costs no host, a dead watchdog does."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.proc import Process
from bulkhead.testing import wait_until
from tests.support.stack import ECHO, ROOT, Stack, new_stack, running_stack
from tests.support.trickle import trickle

pytestmark = pytest.mark.live

SMALL = ("services.api.instances=2", "services.web.instances=1", "services.web.workers=1")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("l") / "home", SMALL) as stack:
        yield stack


def code(stack: Stack, *words: str) -> int:
    return stack.bulkhead("status", *words, check=False).returncode


def send(number: signal.Signals, *processes: Process) -> None:
    for one in processes:
        assert proc.send(one, number)


def watchdog(stack: Stack) -> list[Process]:
    """Its guard and itself: a guard kills a watchdog that is stopped."""
    status = stack.status()["watch"]
    found = [proc.find(pid) for pid in (*status["workers"], status["pid"])]
    return [one for one in found if one]


def test_an_instance_that_cannot_start_costs_no_host(stack: Stack, tmp_path: Path) -> None:
    """As with the fault crash_at_boot: each start of it fails while a file says so."""
    found = proc.find(stack.status()["api-2"]["pid"])
    assert found
    order = stack.home.admin / "api-2.crash"
    order.touch()
    try:
        with trickle(stack.url) as load:
            send(signal.SIGKILL, found)
            wait_until("it keeps crashing", lambda: crashing(stack), timeout_s=30)
            assert code(stack) == 1
            assert code(stack, "--serving") == code(stack, "--live") == 0
            assert health(stack, tmp_path) == 0, "not even a host that has just been started"
        # A POST without a key that it had in hand is lost with it.
        assert {failure.name for failure in load.failures} <= {"non_retryable POST"}
    finally:
        order.unlink(missing_ok=True)
    wait_until("it is back", lambda: code(stack) == 0, timeout_s=30)


def crashing(stack: Stack) -> bool:
    return bool(stack.status()["api-2"]["watched"] == "crashing")


def health(stack: Stack, folder: Path) -> int:
    """deploy/health, as a container's engine runs it."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [ROOT / "deploy" / "health"],
        cwd=ROOT, env=os.environ
        | {"PATH": path, "BULKHEAD_SET": " ".join(stack.settings), "TMPDIR": str(folder)},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode


def test_a_service_of_which_nobody_is_ready_cannot_serve(stack: Stack, tmp_path: Path) -> None:
    """As a version that cannot start: its host never becomes healthy, and an update is undone."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
    assert health(stack, old) == 0
    names = ("api-1", "api-2")
    for name in names:
        (stack.home.admin / f"{name}.crash").touch()
    try:
        status = stack.status()
        send(signal.SIGKILL, *filter(None, (proc.find(status[one]["pid"]) for one in names)))
        wait_until("it does not serve", lambda: code(stack, "--serving") == 1, timeout_s=30)
        assert code(stack, "--live") == 0
        assert health(stack, new) == 1, "one that has never served"
        assert health(stack, old) == 0, "one that has"
    finally:
        for name in names:
            (stack.home.admin / f"{name}.crash").unlink()
    wait_until("they are back", lambda: code(stack) == 0, timeout_s=30)


def test_a_watchdog_that_does_not_turn_is_not_live(stack: Stack, tmp_path: Path) -> None:
    both = watchdog(stack)
    assert len(both) == 2
    send(signal.SIGSTOP, *both)
    try:
        done = stack.bulkhead("status", "--live", check=False)
        told = json.loads(stack.bulkhead("status", "--live", "--json", check=False).stdout)
        assert health(stack, tmp_path) == 1
    finally:
        send(signal.SIGCONT, *both)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "the watchdog does not answer" in done.stderr
    assert told == {"supervisord": True, "watch": False, "live": False}
    wait_until("it is live again", lambda: code(stack, "--live") == 0, timeout_s=30)


def test_one_that_was_killed_is_replaced_before_anybody_is_told(stack: Stack) -> None:
    _, watch = watchdog(stack)
    supervisord = proc.find(stack.status()["supervisord"]["pid"])
    assert supervisord
    for one in (watch, supervisord):
        send(signal.SIGKILL, one)
        assert code(stack, "--live") == 0


def test_a_supervisord_that_does_not_turn_is_not_live(tmp_path: Path) -> None:
    with new_stack(
        tmp_path / "home", (*ECHO, "stack.watch=false", "proxy.balancer=nginx")
    ) as stack:
        assert code(stack, "--live") == 5
        stack.bulkhead("up")
        assert "supervisord and the watchdog work" in stack.bulkhead("status", "--live").stdout
        supervisord = proc.find(stack.status()["supervisord"]["pid"])
        assert supervisord
        send(signal.SIGSTOP, supervisord)
        try:
            done = stack.bulkhead("status", "--live", check=False)
        finally:
            send(signal.SIGCONT, supervisord)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "supervisord does not answer" in done.stderr
