"""Commits: shared by concurrent writes, durable once acknowledged, refused when they must wait."""

import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

import pytest

from bulkhead.testing import wait_until
from tests.services.api.processes import Api, Fleet, read_answer

pytestmark = pytest.mark.live

ENTRIES = "/api/v1/entries"
MAX_WAITING = 512


def test_concurrent_writes_share_a_commit(fleet: Fleet) -> None:
    api = fleet.start()
    with ThreadPoolExecutor(40) as clients:
        with fleet.locked():
            writes = [clients.submit(api.add, amount=n) for n in range(40)]
            wait_until("all writes wait", lambda: api.metric("ledger_waiting") == 40)
        assert {write.result().status for write in writes} == {201}
    assert api.metric("ledger_operations_total") == 40
    # The first to come was alone when its transaction began; all others came before the second.
    assert api.metric("ledger_commits_total") == 2
    assert fleet.sql("SELECT count(*) FROM entries") == [(40,)]


def test_a_write_that_fails_spoils_no_other_in_its_commit(fleet: Fleet) -> None:
    api = fleet.start()
    fleet.expect_faults = True
    with fleet.database() as database:
        database.execute(
            "CREATE TRIGGER poison BEFORE INSERT ON entries WHEN NEW.account = 'poison'"
            " BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
        )
    with ThreadPoolExecutor(9) as clients:
        with fleet.locked():
            accounts = ["a", "b", "poison", "c", "d", "poison", "e", "f", "g"]
            writes = {
                n: clients.submit(api.add, account, n, Idempotency_Key=f"k{n}")
                for n, account in enumerate(accounts)
            }
            wait_until("all writes wait", lambda: api.metric("ledger_waiting") == 9)
        statuses = [writes[n].result().status for n in range(9)]
    assert statuses == [201, 201, 500, 201, 201, 500, 201, 201, 201]
    assert {key for (key,) in fleet.sql("SELECT key FROM keys")} == {
        f"k{n}" for n, account in enumerate(accounts) if account != "poison"
    }
    assert fleet.sql("SELECT count(*) FROM effects") == [(7,)]


def test_a_locked_ledger_is_a_503_after_a_bounded_wait(fleet: Fleet) -> None:
    api = fleet.start()
    with fleet.locked():
        started = time.monotonic()
        answer = api.add(Idempotency_Key="k")
        assert 4.9 < time.monotonic() - started < 8
        assert api.get(ENTRIES).status == 200  # reading goes on
    assert (answer.status, answer.json()["error_code"]) == (503, "ledger_busy")
    assert answer.headers["Retry-After"] == "1"
    again = api.add(Idempotency_Key="k")
    assert (again.status, again.headers["Idempotent-Replayed"]) == (201, None)


def test_a_full_queue_is_a_503_at_once(fleet: Fleet) -> None:
    api = fleet.start()
    body = b'{"account": "a", "amount": 1}'
    message = (
        f"POST {ENTRIES} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    streams = []
    with fleet.locked():
        for _ in range(MAX_WAITING):
            streams.append(socket.create_connection(("127.0.0.1", api.port), timeout=15))
            streams[-1].sendall(message)
        wait_until("the queue is full", lambda: api.metric("ledger_waiting") == MAX_WAITING)
        refused = api.add()
        assert (refused.status, refused.json()["error_code"]) == (503, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        assert api.get("/readyz").status == 200
    assert {read_answer(stream).status for stream in streams} == {201}
    for stream in streams:
        stream.close()
    assert fleet.sql("SELECT count(*) FROM effects") == [(MAX_WAITING,)]


def test_four_processes_create_the_ledger_together(fleet: Fleet) -> None:
    fleet.folder.joinpath("ledger.sqlite3").unlink(missing_ok=True)
    for api in [fleet.launch() for _ in range(4)]:
        api.wait_ready()
        assert api.add().status == 201
    assert fleet.sql("SELECT count(*) FROM entries") == [(4,)]


def test_a_kill_in_a_burst_of_writes_loses_and_doubles_nothing(fleet: Fleet) -> None:
    """Every client repeats a write under its key on the other instance, as the proxy would."""
    victim, survivor = fleet.start(), fleet.start()
    acknowledged: dict[str, str] = {}
    stop = threading.Event()

    def write_on() -> None:
        while not stop.is_set():
            key = uuid.uuid4().hex
            for api in (victim, survivor):
                try:
                    answer = api.add(Idempotency_Key=key)
                except (OSError, HTTPException):
                    continue
                assert answer.status == 201
                acknowledged[key] = answer.json()["id"]
                break

    with ThreadPoolExecutor(8) as clients:
        writers = [clients.submit(write_on) for _ in range(8)]
        wait_until("writes flow", lambda: len(acknowledged) > 200)
        victim.kill()
        at_kill = len(acknowledged)
        wait_until("writes flow on", lambda: len(acknowledged) > at_kill + 200)
        stop.set()
        for writer in writers:
            writer.result()
    effects = fleet.sql("SELECT key, entry_id FROM effects")
    assert dict(effects).items() >= acknowledged.items()
    assert len(effects) == len(dict(effects)), "a key was applied twice"
    entries = {entry_id for (entry_id,) in fleet.sql("SELECT id FROM entries")}
    assert entries == {entry_id for _, entry_id in effects}
    assert fleet.sql("PRAGMA integrity_check") == [("ok",)]


def test_effects_tell_the_history_of_an_entry(fleet: Fleet) -> None:
    api = fleet.start()
    path = f"{ENTRIES}/e"
    requests = [
        ("PUT", {"account": "a", "amount": 1}),
        ("PATCH", {"amount": 2}),
        ("DELETE", None),
        ("PUT", {"account": "a", "amount": 3}),
        ("DELETE", None),
    ]
    for number, (method, body) in enumerate(requests):
        api.request(method, path, body, {"X-Request-ID": f"request-{number}"})
    assert fleet.sql("SELECT request_id, op, entry_id, version, instance FROM effects") == [
        ("request-0", "replace", "e", 1, "api-1"),
        ("request-1", "change", "e", 2, "api-1"),
        ("request-2", "delete", "e", 3, "api-1"),
        ("request-3", "replace", "e", 4, "api-1"),
        ("request-4", "delete", "e", 5, "api-1"),
    ]
    boots = fleet.sql("SELECT DISTINCT boot FROM effects")
    assert boots == [(api.get("/healthz").headers["X-Boot"],)]
    assert abs(fleet.sql("SELECT max(at) FROM effects")[0][0] - time.time()) < 10


def test_writes_of_all_instances_are_seen_by_all(api: Api, twin: Api) -> None:
    for _ in range(20):
        assert twin.get(api.add().headers["Location"]).status == 200
        assert api.get(twin.add().headers["Location"]).status == 200
