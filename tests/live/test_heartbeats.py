"""Many processes send heartbeats into a socket of ten datagrams: no healthy one is killed."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from signal import SIGSTOP
from typing import NamedTuple

import pytest

from bulkhead import proc
from bulkhead.clock import now, pause
from bulkhead.proc import Process
from bulkhead.records import WatchRow
from bulkhead.supervise import record
from bulkhead.testing import free_ports, wait_until
from tests.services.admin_client import AdminSocket
from tests.support.rows import rows_so_far
from tests.support.small_queue import busy_processors, small_queue
from tests.support.stack import Stack

pytestmark = [pytest.mark.live, pytest.mark.load, pytest.mark.timeout(600)]

WATCHED_S = 60
INSTANCES, MASTERS, WORKERS = 64, 8, 4
MANY = (
    f"services.api.instances={INSTANCES}",
    f"services.web.instances={MASTERS}",
    f"services.web.workers={WORKERS}",
    "services.api.boot_s=120",
    "services.web.boot_s=120",
)


class Hang(NamedTuple):
    """A process that is made to hang, and how long the watchdog may take to kill it."""

    process: Process
    within_s: float


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """64 Tornado instances and 8 gunicorn instances of 4 workers, as an ordinary user."""
    with small_queue() as prefix, free_ports() as ports:
        folder = tmp_path_factory.mktemp("h") / "home"
        stack = Stack(folder, ports, MANY, prefix=prefix)
        try:
            stack.bulkhead("up")
            yield stack
        finally:
            found = record.read(stack.home)
            members = found.members() if found else []
            stack.bulkhead("down")
        stack.assert_nothing_left(members)


def rows(stack: Stack, kind: str, since: float) -> list[WatchRow]:
    found = rows_so_far(stack.home.watch_rows, WatchRow)
    return [row for row in found if row.kind == kind and row.t >= since]


def leader(stack: Stack, name: str) -> Process:
    found = record.leader(stack.home, name)
    assert found, f"nobody leads {name}"
    return found


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_no_process_is_killed_unless_it_hangs(crowd: Stack, busy: bool) -> None:
    with busy_processors(2 * (os.cpu_count() or 1)) if busy else nullcontext():
        began = now()
        pause(WATCHED_S)
        assert [row for kind in ("hang", "exit") for row in rows(crowd, kind, began)] == []
        for make in (stopped, computing_api, computing_worker):
            hang = make(crowd)
            began = now()
            assert proc.wait_gone(hang.process, 10), f"{hang.process} is not killed"
            (row,) = rows(crowd, "hang", began)
            assert row.detail.startswith(f"{hang.process.pid} ")
            # What it waited for a processor does not count; on busy ones that is half of the time.
            assert row.t - began < hang.within_s * (4 if busy else 1)
            wait_until("all are up", lambda: everybody_is_up(crowd), timeout_s=60)


def stopped(stack: Stack) -> Hang:
    victim = leader(stack, "api-7")
    proc.send(victim, SIGSTOP)
    return Hang(victim, 1.0)


def computing_api(stack: Stack) -> Hang:
    return computing(stack, "api-9", leader(stack, "api-9"))


def computing_worker(stack: Stack) -> Hang:
    return computing(stack, "web-3", proc.children(leader(stack, "web-3").pid)[-1])


def computing(stack: Stack, name: str, victim: Process) -> Hang:
    """Its event loop is busy for a minute."""
    AdminSocket(stack.home.admin / f"{name}.{victim.pid}.sock").ask("PUT", {"busy_s": 60})
    return Hang(victim, 1.5)


def everybody_is_up(stack: Stack) -> bool:
    states = [one["ready"] for one in stack.status().values()]
    return len(states) == 3 + INSTANCES + MASTERS and all(states)
