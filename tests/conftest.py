"""Options and fixtures that every test folder shares."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import ECHO, Stack, new_stack, running_stack

# These take long, and a change seldom breaks them alone: `make test-all` runs them.
SLOW = (
    "tests/deploy/test_systemd.py",
    "tests/drill/test_swarm.py",
    "tests/faults/",
    "tests/hosts/",
    "tests/live/test_clean.py",
    "tests/live/test_floods.py",
    "tests/live/test_hosts.py",
    "tests/live/test_liveness.py",
    "tests/live/test_policies.py",
    "tests/live/test_peers.py",
    "tests/live/test_power_cut.py",
    "tests/live/test_queued_pages.py",
    "tests/live/test_refused_calls.py",
    "tests/live/test_reload.py",
    "tests/live/test_rotation.py",
    "tests/live/test_safety.py",
    "tests/live/test_supervision.py",
    "tests/live/test_upgrade.py",
    "tests/loadtest/test_openloop_pace.py",
    "tests/loadtest/test_openloop_stop.py",
    "tests/loadtest/test_shapes.py",
    "tests/loadtest/test_shortage.py",
    "tests/loadtest/test_workers.py",
    "tests/services/api/test_openapi.py::test_schemathesis",
    "tests/services/api/test_commits.py",
    "tests/services/api/test_outage.py",
    "tests/services/api/test_start.py",
    "tests/services/web/test_lifecycle.py",
    "tests/supervisor/",
    "tests/verbs/test_hostile.py",
    "tests/watchdog/test_heartbeats.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the slow ones."""
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker("slow")


def pytest_configure() -> None:
    """Take SIGINT even where a shell has started us in the background, with SIGINT ignored.

    What is ignored stays ignored in every process that a test starts, and then no Ctrl-C that a
    test sends would reach it.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write what is rendered into tests/golden"
    )


@pytest.fixture
def echo_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of echo instances, up, with the topology's own policies."""
    with running_stack(tmp_path / "home", ECHO) as stack:
        yield stack


@pytest.fixture
def down_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of echo instances that is not up yet; a test may change its settings."""
    with new_stack(tmp_path / "home", ECHO) as stack:
        yield stack
