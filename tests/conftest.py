"""Options and fixtures that every test folder shares."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import ECHO, Stack, new_stack, running_stack


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
