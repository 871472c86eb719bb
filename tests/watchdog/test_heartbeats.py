"""Heartbeats into a socket that is full: none is lost for who judges."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from signal import SIGUSR1

import pytest

from bulkhead import proc
from bulkhead.clock import now, pause
from bulkhead.proc import find
from bulkhead.watchdog.liveness import BATCH, NotifySocket, ServingProcess
from bulkhead.watchdog.processes import Program
from bulkhead.watchdog.state import Spec
from services.common.notify import SLOTS, Notifier, phase
from tests.support.small_queue import small_queue
from tests.watchdog.harness import Service, little


class Timers:
    """The timers of a loop that turns when the test says so."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """As asyncio's `call_later`."""
        self.due.append((delay, call))


@pytest.fixture
def notify_socket(tmp_path: Path) -> Iterator[NotifySocket]:
    one = NotifySocket(tmp_path / "notify.sock")
    yield one
    one.close()


def fill(path: Path) -> None:
    """Send until the socket takes no more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                sender.sendto(b"WATCHDOG=1", str(path))


def judge(notifier_page: int, heard: float, all_received: bool = True) -> list[str]:
    """What is said of this process when it was heard last at that moment."""
    me = find(os.getpid())
    assert me
    member = ServingProcess(me)
    member.open_page(notifier_page)
    member.liveness.last_heartbeat = heard
    program = Program(Spec("api-1", "tornado", "api", "", 1, 0.5, 5), since=0.0)
    program.leader = program.serving[me.pid] = member
    try:
        return [hang.why for hang in program.hung_processes((), all_received)]
    finally:
        member.close()


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 11])
def test_processes_send_heartbeats_at_different_moments(step: int) -> None:
    moments = [phase(pid) for pid in range(20_000, 20_000 + 96 * step, step)]
    assert all(0 <= one < 1 for one in moments)
    assert max(moments.count(one) for one in moments) <= 2 * 96 / SLOTS


def test_a_heartbeat_that_was_refused_is_sent_again_soon_and_not_counted(
    notify_socket: NotifySocket,
) -> None:
    notifier, timers = Notifier(str(notify_socket._path), 0.25), Timers()
    fill(notify_socket._path)
    notifier.ready(timers.later)
    (delay, retry), (regular, _) = timers.due
    assert 0 < delay < 0.01 < regular
    retry()  # still full: later, but not later than the next regular one
    notifier.heartbeat_if_due()
    assert timers.due[2][0] > delay
    assert len(timers.due) == 3  # one at a time, whatever is refused meanwhile
    list(notify_socket.receive())
    notifier.heartbeat_if_due()  # it is due: what was refused has not been said
    assert [heartbeat.ready for heartbeat in notify_socket.receive()] == [True]
    notifier.heartbeat_if_due()  # now it is not
    notifier.stopping()
    timers.due[2][1]()  # it has been said
    assert [heartbeat.stopping for heartbeat in notify_socket.receive()] == [True]
    notifier.close()


def test_stopping_that_was_refused_is_said_soon(notify_socket: NotifySocket) -> None:
    notifier, timers = Notifier(str(notify_socket._path), 0.25), Timers()
    notifier.ready(timers.later)
    fill(notify_socket._path)
    notifier.stopping()
    list(notify_socket.receive())
    delay, retry = timers.due[-1]
    assert delay < 0.01
    retry()
    assert [heartbeat.stopping for heartbeat in notify_socket.receive()] == [True]
    notifier.close()


def test_nobody_is_judged_by_a_refused_heartbeat(
    notify_socket: NotifySocket,
) -> None:
    notifier = Notifier(str(notify_socket._path), 0.25)
    notifier.ready(Timers().later)
    (heartbeat,) = notify_socket.receive()
    assert heartbeat.page >= 0
    long_ago = now() - 2
    fill(notify_socket._path)
    assert judge(-1, long_ago)[0].startswith("no turn for 2.")
    notifier.heartbeat()
    assert judge(heartbeat.page, long_ago) == []
    assert judge(-1, long_ago, all_received=False) == []  # it may be in what is still unread
    list(notify_socket.receive())
    notifier.close()


def test_one_that_hangs_is_found_however_full_the_socket_is(notify_socket: NotifySocket) -> None:
    notifier = Notifier(str(notify_socket._path), 0.25)
    notifier.ready(Timers().later)
    (heartbeat,) = notify_socket.receive()
    turned = time.monotonic()
    fill(notify_socket._path)
    pause(0.6)
    (why,) = judge(heartbeat.page, turned, all_received=False)
    assert why.startswith("no turn for 0.")
    notifier.close()


@pytest.mark.parametrize("number", [0, 1, 2, 999999])
def test_a_page_that_is_none_says_nothing(number: int) -> None:
    me = find(os.getpid())
    assert me
    process = ServingProcess(me)
    descriptor = os.pipe()[0] if number == 0 else number
    process.open_page(descriptor)
    assert not 0 < process.last_turn() <= now()
    process.close()


def test_the_socket_knows_when_it_has_not_heard_all(notify_socket: NotifySocket) -> None:
    assert list(notify_socket.receive()) == []
    assert notify_socket.all_received
    heard = notify_socket.receive()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for _ in range(BATCH):
            sender.sendto(b"WATCHDOG=1", str(notify_socket._path))
            next(heard)
        assert list(heard) == []
    assert not notify_socket.all_received


@pytest.mark.live
def test_many_processes_and_a_small_queue(tmp_path: Path) -> None:
    services = [Service(f"api-{number}") for number in range(1, 41)]
    with small_queue() as prefix, little(tmp_path, *services, prefix=prefix) as stack:
        began = now()
        pause(8)
        assert [row for row in stack.rows("hang") if row.t > began] == []
        assert [row for row in stack.rows("exit") if row.t > began] == []
        victim = stack.up("api-7")
        proc.send(victim, SIGUSR1)
        assert found(stack.row("hang", "api-7").detail) == victim.pid


def found(detail: str) -> int:
    return int(detail.split()[0])
