"""Options and fixtures that every test folder shares."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import ECHO, Stack, new_stack, running_stack


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
