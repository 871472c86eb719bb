"""Fixtures: instances of the API service, each test (or module) with a ledger of its own.

`api`, `twin` and `shared_fleet` come once for each kind of ledger: what their tests say is the
contract of all of them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkhead.testing import free_ports
from tests.services.api.processes import Api, Fleet
from tests.support import databases
from tests.support.databases import Server


@contextmanager
def running_fleet(folder: Path, server: Server | None = None) -> Iterator[Fleet]:
    with free_ports() as ports:
        fleet = Fleet(folder, ports, server)
        try:
            yield fleet
            fleet.stop()
        finally:
            fleet.abandon()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """No instance yet; the test starts those it needs."""
    with running_fleet(tmp_path) as fleet:
        yield fleet


@pytest.fixture(scope="session", params=["sqlite", *databases.KINDS])
def server(request: pytest.FixtureRequest) -> Iterator[Server | None]:
    """Where the ledgers are: None for files, or a database server for all tests of this process."""
    if request.param == "sqlite":
        yield None
        return
    with databases.running(request.param) as server:
        yield server


@pytest.fixture(scope="module")
def shared_fleet(
    tmp_path_factory: pytest.TempPathFactory, server: Server | None
) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("shared"), server) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def api(shared_fleet: Fleet) -> Api:
    """One instance for all tests of a module; they use entries of their own."""
    return shared_fleet.start()


@pytest.fixture(scope="module")
def twin(shared_fleet: Fleet) -> Api:
    """A second instance on the ledger of `api`."""
    return shared_fleet.start()
