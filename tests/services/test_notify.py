"""What a watchdog hears of a process: the words, how often, and that sending never hurts."""

import contextlib
import os
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from signal import SIGTERM
from unittest.mock import Mock

import pytest

from bulkhead.proc import find
from bulkhead.testing import wait_until
from bulkhead.watchdog.liveness import NotifySocket, ServingProcess
from services.common.notify import LONGEST_S, Notifier, phase
from tests.services.api.conftest import fleet
from tests.services.api.processes import Api, Fleet
from tests.services.web.conftest import (
    StartWeb,
    folder,
    ledger,
    ports,
    running_stub,
    secret,
    start_web,
)
from tests.services.web.processes import WebInstance

__all__ = ["fleet", "folder", "ledger", "ports", "running_stub", "secret", "start_web"]

READY = (True, False)
STOPPING = (False, True)


@dataclass
class Speaker:
    """A process that has been heard."""

    process: ServingProcess
    words: tuple[bool, bool]
    turned: float


class Watchdog:
    """Listens, reads the pages, and knows when which process said what."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._notify_socket = NotifySocket(path)
        self._speakers: dict[int, Speaker] = {}
        self.heard: list[tuple[float, int, tuple[bool, bool]]] = []
        self.datagrams = 0

    def listen(self) -> None:
        """Hear what has arrived, by datagram or in a page."""
        for heartbeat in self._notify_socket.receive():
            self.datagrams += 1
            words = (heartbeat.ready, heartbeat.stopping)
            self.heard.append((time.monotonic(), heartbeat.pid, words))
            with contextlib.suppress(ProcessLookupError, KeyError):
                if heartbeat.pid not in self._speakers and (process := find(heartbeat.pid)):
                    self._speakers[heartbeat.pid] = Speaker(ServingProcess(process), words, 0.0)
                known = self._speakers[heartbeat.pid]
                known.words = words
                known.process.open_page(heartbeat.page)
                known.turned = known.process.last_turn()
        for pid, speaker in self._speakers.items():
            if speaker.process.last_turn() > speaker.turned:
                speaker.turned = speaker.process.last_turn()
                self.heard.append((time.monotonic(), pid, speaker.words))

    def hear(self, what: str, enough: Callable[[], object]) -> None:
        """Listen until something is so."""

        def listened() -> object:
            self.listen()
            return enough()

        wait_until(what, listened, every_s=0.005)

    def said(self, pid: int, words: tuple[bool, bool]) -> list[float]:
        """When a process said these words."""
        return [t for t, who, what in self.heard if (who, what) == (pid, words)]

    def longest_gap_s(self, pid: int, began: float) -> float:
        """The longest silence of a process since `began`, until now."""
        times = [began, *(t for t, who, _ in self.heard if who == pid and t > began)]
        times.append(time.monotonic())
        return max(after - before for before, after in pairwise(times))

    def close(self) -> None:
        """Hear no more."""
        self._notify_socket.close()
        for speaker in self._speakers.values():
            speaker.process.close()


@pytest.fixture
def watchdog(tmp_path: Path) -> Iterator[Watchdog]:
    one = Watchdog(tmp_path / "notify.sock")
    yield one
    one.close()


@pytest.fixture
def environment(watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a supervisor says to the processes that a test starts."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(watchdog.path))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")


class Timers:
    """The timers of a loop that turns when the test says so."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def later(self, delay: float, call: Callable[[], None]) -> None:
        """As asyncio's `call_later`."""
        self.due.append((delay, call))


@pytest.mark.parametrize(
    ("microseconds", "interval_s"),
    [("400000", 0.1), ("60000000", LONGEST_S), ("1", 0.02), ("", LONGEST_S), ("x", LONGEST_S)],
)
def test_it_sends_four_heartbeats_in_its_time(microseconds: str, interval_s: float) -> None:
    assert Notifier.from_environment({"WATCHDOG_USEC": microseconds}).interval_s == interval_s
    assert Notifier.from_environment({}).interval_s == LONGEST_S


def test_it_says_ready_then_stopping_and_before_that_nothing(watchdog: Watchdog) -> None:
    notifier, timers = Notifier(str(watchdog.path), 0.1), Timers()
    notifier.heartbeat_if_due()
    watchdog.listen()
    assert watchdog.heard == []
    notifier.ready(timers.later)
    for _ in range(2):
        watchdog.listen()
        delay, call = timers.due.pop()
        assert 0 < delay <= 0.125
        call()
    watchdog.listen()
    notifier.stopping()
    watchdog.listen()
    timers.due.pop()[1]()
    watchdog.listen()
    notifier.close()
    assert watchdog.datagrams == 2, "the page says the rest"
    assert [what for _, _, what in watchdog.heard] == [READY] * 3 + [STOPPING] * 2
    assert {pid for _, pid, _ in watchdog.heard} == {os.getpid()}


def test_each_process_sends_heartbeats_at_a_moment_of_its_own(
    watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = []
    for moment in (1000.01, 1000.03, 1000.07, 1000.099):
        timers, notifier = Timers(), Notifier(str(watchdog.path), 0.1)
        with monkeypatch.context() as clock:
            clock.setattr("services.common.notify.time.monotonic", partial(float, moment))
            notifier.ready(timers.later)
        delay = timers.due.pop()[0]
        assert 0.025 < delay <= 0.125  # never twice in a row, and soon enough
        # From the middle of the interval before: a moment at its edge must not wrap around.
        due.append((moment + delay - phase(os.getpid()) * 0.1 + 0.05) % 0.1)
        notifier.close()
    assert due == pytest.approx([0.05] * 4)


def test_a_busy_loop_sends_heartbeats_between_requests_but_not_at_each(watchdog: Watchdog) -> None:
    notifier = Notifier(str(watchdog.path), 0.05)
    notifier.ready(Timers().later)
    watchdog.listen()
    turns = 0
    began = time.monotonic()
    while time.monotonic() < began + 0.5:
        notifier.heartbeat_if_due()
        watchdog.listen()
        turns += 1
    notifier.close()
    assert turns > 1000
    assert 2 < len(watchdog.heard) <= 11


def test_without_a_watchdog_nothing_happens(tmp_path: Path) -> None:
    timers = Timers()
    silent = Notifier.from_environment({})
    silent.ready(timers.later)
    silent.heartbeat_if_due()
    silent.stopping()
    assert timers.due == []
    gone = Notifier(str(tmp_path / "nobody.sock"), 0.1)
    gone.ready(timers.later)
    gone.stopping()
    gone.close()
    assert len(timers.due) == 1  # there may be one later


def test_a_watchdog_that_does_not_listen_costs_no_time(watchdog: Watchdog) -> None:
    notifier = Notifier(str(watchdog.path), 0.1)
    notifier.ready(Timers().later)
    began = time.monotonic()
    for _ in range(1000):
        notifier.heartbeat()
    notifier.close()
    assert time.monotonic() - began < 1
    watchdog.listen()
    assert watchdog.datagrams == 1


def test_a_watchdog_that_starts_later_soon_hears_everybody(watchdog: Watchdog) -> None:
    notifier, timers = Notifier(str(watchdog.path), 0.05), Timers()
    notifier.ready(timers.later)
    watchdog.listen()
    began = time.monotonic()
    while watchdog.datagrams < 3:
        notifier.heartbeat_if_due()
        watchdog.listen()
    notifier.close()
    assert LONGEST_S < time.monotonic() - began < 2 * LONGEST_S + 0.1


def test_without_a_page_each_heartbeat_is_a_datagram(
    watchdog: Watchdog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.common.notify.os.memfd_create", Mock(side_effect=OSError))
    notifier, timers = Notifier(str(watchdog.path), 0.1), Timers()
    notifier.ready(timers.later)
    for _ in range(2):
        timers.due.pop()[1]()
    watchdog.listen()
    notifier.close()
    assert watchdog.datagrams == 3


def test_it_costs_a_start_nothing() -> None:
    began = time.monotonic()
    for _ in range(100):
        Notifier.from_environment({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "500000"})
    assert (time.monotonic() - began) / 100 < 0.001


def test_abstract_names_are_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        name = f"bulkhead-test-{os.getpid()}"
        hearing.bind(f"\0{name}")
        notifier = Notifier(f"@{name}", 0.1)
        notifier.ready(Timers().later)
        notifier.close()
        assert hearing.recv(100).startswith(b"READY=1\nWATCHDOG=1")


@pytest.mark.live
@pytest.mark.usefixtures("environment")
class TestApi:
    """A real Tornado instance."""

    def test_it_is_ready_when_it_listens_and_stopping_when_it_drains(
        self, fleet: Fleet, watchdog: Watchdog
    ) -> None:
        api = fleet.launch(grace_s="5")
        pid = api.process.pid
        watchdog.hear("it is ready", lambda: watchdog.said(pid, READY))
        assert api.get("/readyz").status == 200  # no retry: whoever says ready accepts
        watchdog.hear("it goes on", lambda: len(watchdog.said(pid, READY)) > 4)
        with ThreadPoolExecutor(1) as client:
            slow = client.submit(api.get, "/api/v1/work?ms=800")
            wait_until("it is under way", lambda: api.metric("in_flight") == 2)
            api.terminate(SIGTERM)
            watchdog.hear("it drains", lambda: len(watchdog.said(pid, STOPPING)) > 3)
            assert slow.result().status == 200
        assert api.wait() == 0
        watchdog.listen()
        assert max(watchdog.said(pid, READY)) < min(watchdog.said(pid, STOPPING))

    def test_a_handler_that_computes_is_silence_many_short_ones_are_not(
        self, fleet: Fleet, watchdog: Watchdog
    ) -> None:
        api = fleet.start()
        pid = api.process.pid
        began = self.load(api, watchdog, ["cpu_ms=600"])
        assert watchdog.longest_gap_s(pid, began) > 0.55
        # All wait for the same moment, and then one turn of the loop does the work of all.
        began = self.load(api, watchdog, ["ms=300&cpu_ms=30"] * 32)
        assert watchdog.longest_gap_s(pid, began) < 0.55

    def load(self, api: Api, watchdog: Watchdog, works: list[str]) -> float:
        """Send these requests at once and listen until all are answered; when it began."""
        began = time.monotonic()
        with ThreadPoolExecutor(len(works)) as clients:
            sent = [clients.submit(api.get, f"/api/v1/work?{work}") for work in works]
            watchdog.hear("all are answered", lambda: all(one.done() for one in sent))
        return began

    def test_heartbeats_go_on_while_another_holds_the_lock_of_the_ledger(
        self, fleet: Fleet, watchdog: Watchdog
    ) -> None:
        """A process that is stopped in the middle of a transaction must not look like several."""
        api = fleet.start()
        pid = api.process.pid
        with (
            contextlib.closing(sqlite3.connect(fleet.folder / "ledger.sqlite3")) as other,
            ThreadPoolExecutor(4) as clients,
        ):
            other.isolation_level = None
            other.execute("BEGIN IMMEDIATE")
            began = time.monotonic()
            writes = [clients.submit(api.add) for _ in range(4)]
            watchdog.hear("a second has passed", lambda: time.monotonic() > began + 1)
            assert not any(one.done() for one in writes)
            assert watchdog.longest_gap_s(pid, began) < 0.4
            other.execute("ROLLBACK")
            assert {one.result().status for one in writes} == {201}


@pytest.mark.live
@pytest.mark.usefixtures("environment")
class TestWeb:
    """A real gunicorn."""

    def start(self, start_web: StartWeb) -> WebInstance:
        names = ("NOTIFY_SOCKET", "WATCHDOG_USEC")
        return start_web(**{name: os.environ[name] for name in names})

    def test_each_worker_speaks_for_itself(self, start_web: StartWeb, watchdog: Watchdog) -> None:
        web = self.start(start_web)
        workers = set(web.workers())
        assert len(workers) == 2
        for pid in workers:
            watchdog.hear("its heartbeats", lambda: len(watchdog.said(pid, READY)) > 3)  # noqa: B023
        web.send(SIGTERM)
        for pid in workers:
            watchdog.hear("it drains", lambda: watchdog.said(pid, STOPPING))  # noqa: B023
        assert web.wait() == 0
        # gunicorn's master says READY once by itself, and never that anything turns.
        assert {pid for _, pid, _ in watchdog.heard} == {*workers, web.master}
        assert len(watchdog.said(web.master, READY)) == 1
