"""One rich run for all tests of this folder; they read it, and write nothing but its report."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection

from bulkhead.accounting.account import opened
from bulkhead.rundir import RunDir
from tests.report.rich import Storm


@pytest.fixture(scope="session")
def storm(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return Storm(tmp_path_factory.mktemp("runs") / "20260921-141500-kill-storm", 200.0).write()


@pytest.fixture(scope="session")
def account(storm: RunDir) -> Iterator[DuckDBPyConnection]:
    with opened(storm) as database:
        yield database


@pytest.fixture(scope="session")
def report(storm: RunDir) -> Path:
    from bulkhead.report import html

    return html.write(storm)
