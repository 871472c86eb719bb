"""The ledger's server is killed, frozen or wrong: what clients see, and what becomes of it."""

import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import psutil
import pytest

from bulkhead.testing import wait_until
from services.api.ledger.entry import PATIENCE_S
from services.api.ledger.server import TRY_S
from tests.services.api.conftest import running_fleet
from tests.services.api.processes import Api, Fleet
from tests.support import databases
from tests.support.databases import Server
from tests.support.http import Answer

pytestmark = pytest.mark.live

ENTRIES = "/api/v1/entries"
CLIENTS = 8


@pytest.fixture(params=databases.KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that belongs to one test: it may be killed."""
    with databases.running(request.param) as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, server: Server) -> Iterator[Fleet]:
    with running_fleet(tmp_path, server) as fleet:
        yield fleet


class Writers:
    """Clients that add entries without a pause, each under a key, and again until it is done."""

    def __init__(self, instances: list[Api]) -> None:
        self.statuses: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()
        self.acknowledged: dict[str, str] = {}
        self.longest_s = 0.0
        self._instances = instances
        self._end = Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._all = [self._pool.submit(self._write, number) for number in range(CLIENTS)]

    def _write(self, number: int) -> None:
        tries = 0
        while not self._end.is_set():
            key = uuid.uuid4().hex
            while True:
                api = self._instances[(number + tries) % len(self._instances)]
                tries += 1
                began = time.monotonic()
                answer = api.add(Idempotency_Key=key)
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.statuses[answer.status] += 1
                if answer.status == 201:
                    self.acknowledged[key] = answer.json()["id"]
                    break
                self.codes[answer.json()["error_code"]] += 1
                assert answer.headers["Retry-After"] == "1", answer
                time.sleep(0.1)

    def more(self) -> None:
        """Wait until some more are acknowledged."""
        before = len(self.acknowledged)
        wait_until("writes go on", lambda: len(self.acknowledged) > before + 20, 30)

    def finish(self) -> None:
        """Let each finish what it has begun."""
        self._end.set()
        for one in self._all:
            one.result(60)
        self._pool.shutdown()


def assert_once(fleet: Fleet, writers: Writers) -> None:
    """Every acknowledged write is there, and nothing is there twice."""
    found = fleet.sql('SELECT "key", entry_id FROM effects')
    assert len(found) == len({key for key, _ in found})
    assert dict(found) == writers.acknowledged
    assert {name for (name,) in fleet.sql("SELECT id FROM entries")} == set(
        writers.acknowledged.values()
    )


def test_killed_and_back_at_once_nobody_notices(server: Server, fleet: Fleet) -> None:
    writers = Writers([fleet.start(), fleet.start()])
    for _ in range(2):
        writers.more()
        server.kill()
        server.start()
    writers.more()
    writers.finish()
    # What was in the middle of its commit is the exception: it asks for a repetition.
    assert set(writers.codes) <= {"ledger_in_doubt"}, writers.codes
    assert writers.statuses[504] <= 2 * CLIENTS
    assert writers.longest_s < PATIENCE_S
    assert_once(fleet, writers)


def test_away_for_long_is_a_clear_503_and_it_recovers(server: Server, fleet: Fleet) -> None:
    api = fleet.start()
    writers = Writers([api])
    writers.more()
    server.kill()
    wait_until("the first 503", lambda: writers.codes["ledger_unreachable"] > 0, 20)
    began = time.monotonic()
    answers = [api.get(ENTRIES) for _ in range(5)]
    assert time.monotonic() - began < 5 * (TRY_S + 0.5)
    assert {read(answer) for answer in answers} == {(503, "ledger_unreachable", "1")}
    assert api.get("/api/v1/whoami").status == 200  # what needs no ledger goes on
    server.start()
    writers.more()
    writers.finish()
    assert writers.longest_s < PATIENCE_S + TRY_S + 1
    assert_once(fleet, writers)


def read(answer: Answer) -> tuple[int, str, str]:
    return answer.status, answer.json()["error_code"], answer.headers["Retry-After"]


def test_frozen_is_as_good_as_dead(server: Server, fleet: Fleet) -> None:
    """Silence, and no reset: as of a host that is cut off."""
    writers = Writers([fleet.start(), fleet.start()])
    writers.more()
    server.send(signal.SIGSTOP)
    wait_until("the first 503", lambda: writers.codes["ledger_unreachable"] > 0, 20)
    server.send(signal.SIGCONT)
    writers.more()
    writers.finish()
    assert writers.longest_s < PATIENCE_S + 2 * TRY_S + 1
    assert_once(fleet, writers)


def silenced(fleet: Fleet) -> psutil.Process | None:
    """The process of one connection, stopped; None if it was caught in a transaction, and goes on.

    The locks of that one everybody waits for, and that is another story.
    """
    ours = "FROM pg_stat_activity WHERE application_name = 'api-1'"
    (first, *others) = fleet.sql(f"SELECT pid {ours}")
    assert others, "there must be another one"
    process = psutil.Process(*first)
    process.suspend()
    if fleet.sql(f"SELECT state {ours} AND pid = {process.pid}") == [("idle",)]:
        return process
    process.resume()
    return None


def test_one_silent_connection_is_no_outage(server: Server, fleet: Fleet) -> None:
    """Only PostgreSQL has a process for each connection, which can be stopped alone."""
    if server.kind != "postgresql":
        pytest.skip(f"{server.kind} has one process for all connections")
    api = fleet.start()
    writers = Writers([api])
    writers.more()
    stopped = wait_until("a connection is silent", lambda: silenced(fleet), every_s=0.01)
    try:
        time.sleep(TRY_S + 1)
        writers.more()
    finally:
        stopped.resume()
    writers.more()
    writers.finish()
    assert "is away" not in api.log.read_text()
    assert set(writers.codes) <= {"ledger_in_doubt"}, writers.codes
    assert_once(fleet, writers)


def test_an_instance_starts_without_its_server(server: Server, fleet: Fleet) -> None:
    server.kill()
    instances = [fleet.start() for _ in range(3)]
    assert instances[0].get("/api/v1/whoami").status == 200
    server.start()
    with ThreadPoolExecutor(12) as clients:  # all of them make the tables at once
        added = list(clients.map(lambda n: instances[n % 3].add().status, range(12)))
    assert added == [201] * 12
    assert fleet.sql("SELECT version FROM ledger_schema") == [(2,)]


def test_a_wrong_password_is_one_clear_line(server: Server, fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong")
    api = fleet.start(ledger_password_file=str(tmp_path / "wrong"))
    assert read(api.get(ENTRIES)) == (503, "ledger_unreachable", "1")
    said = [line for line in api.log.read_text().splitlines() if "is away" in line]
    assert len(said) == 1
    assert f"{server.kind}://bulkhead@127.0.0.1:{server.port}" in said[0]
    assert "password" in said[0]


def test_keys_are_deleted_when_their_time_is_over(fleet: Fleet) -> None:
    api = fleet.start()
    for _ in range(3):
        api.add(Idempotency_Key=uuid.uuid4().hex)
    fleet.sql("UPDATE idempotency_keys SET expires = ?", time.time() - 1)
    wait_until("they are gone", lambda: fleet.sql("SELECT * FROM idempotency_keys") == [])
