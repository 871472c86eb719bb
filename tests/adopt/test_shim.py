"""Shims for leaders that outlived their supervisord."""

import signal
import sys
from collections.abc import Iterator

import pytest

from bulkhead import proc
from bulkhead.proc import group
from bulkhead.testing import wait_until
from tests.adopt.launching import Child, Launcher, kill, launcher

pytestmark = pytest.mark.live


NOTES_SIGNALS = [sys.executable, "-m", "tests.adopt.notes_signals"]


@pytest.fixture
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    # A short name: the path of a unix socket is limited.
    with launcher(tmp_path_factory.mktemp("a") / "home") as made:
        yield made


def adopted(launch: Launcher, *words: str) -> tuple[Child, Child]:
    """A program that runs, and its shim."""
    command = [*NOTES_SIGNALS, *words]
    launch.know("api-1", "tornado", grace_s=0.5)
    leader = launch.launch("api-1", command)
    wait_until("it runs", lambda: "ready" in launch.printed("api-1"))
    shim = launch.launch("api-1", command)
    said = f"api-1: pid {leader.pid} goes on; this is its shim"
    wait_until("it has a shim", lambda: said in launch.printed("api-1"))
    assert launch.leader("api-1") == proc.find(leader.pid)
    return leader, shim


def test_a_shim_passes_signals_on_and_ends_with_the_leader(launch: Launcher) -> None:
    leader, shim = adopted(launch)
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2"):
        shim.send_signal(signal.Signals[name])

        def has_come(name: str = name) -> bool:
            return name in launch.printed("api-1")

        wait_until(f"{name} has come through", has_come)
    assert shim.poll() is None
    shim.send_signal(signal.SIGTERM)
    assert (leader.wait(10), shim.wait(10)) == (0, 0)
    assert launch.printed("api-1").count("ready") == 1, "nothing has run twice"


def test_a_death_that_nobody_asked_for_is_a_failure(launch: Launcher) -> None:
    leader, shim = adopted(launch)
    kill(leader)
    assert shim.wait(10) == 1


def test_a_leader_that_does_not_end_is_killed_with_its_group(launch: Launcher) -> None:
    """supervisord's own SIGKILL would end the shim alone, and the program would live on."""
    leader, shim = adopted(launch, "stubborn")
    members = group(leader.pid)
    assert len(members) == 2
    shim.send_signal(signal.SIGTERM)
    assert leader.wait(10) == -signal.SIGKILL
    assert shim.wait(10) == 0
    wait_until("all of it has ended", lambda: not group(leader.pid))
    assert launch.printed("api-1").count("SIGTERM") == 1


def test_a_killed_shim_leaves_the_program_to_the_next(launch: Launcher) -> None:
    leader, shim = adopted(launch)
    kill(shim)
    launch.launch("api-1", NOTES_SIGNALS)
    said = "this is its shim"
    wait_until("another shim", lambda: launch.printed("api-1").count(said) == 2)
    assert leader.poll() is None


def test_a_shim_is_small(launch: Launcher) -> None:
    _, shim = adopted(launch)
    found = proc.find(shim.pid)
    assert found
    assert proc.resident_mb(found) < 12
