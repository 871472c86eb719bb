"""A good run to be broken in one thing, for each test anew."""

from pathlib import Path

import pytest

from tests.judge.made import good_run
from tests.support.runs import MadeRun


@pytest.fixture
def run(tmp_path: Path) -> MadeRun:
    return good_run(tmp_path / "run")
