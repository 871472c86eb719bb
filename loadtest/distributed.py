"""The processes of a load: one alone, or Locust's master and workers, who end together.

Locust itself lets a master go half a second after it told its workers to quit, whatever they still
have in flight, and counts what it has heard of by then. Here each worker tells what rows it has,
and the master waits for that.
"""

import time
from collections.abc import Callable
from typing import Any

import gevent
import msgspec
from locust.runners import (
    STATE_MISSING,
    STATE_RUNNING,
    STATE_SPAWNING,
    MasterRunner,
    WorkerRunner,
)

from loadtest import seat
from loadtest.recorder import Counts, Told
from loadtest.seat import Seat

HELLO = "client_rows_hello"
COUNTS = "client_rows_counts"
FINISH = "client_rows_finish"
WORKERS_GRACE_S = 5.0


class Alone:
    """A process that is all of the load; `told` says what rows it has.

    `speaks` is whether the user hears of the rows from this process.
    """

    speaks = True

    def __init__(self, environment: Any, runner: Any, told: Callable[[], Told]) -> None:
        self.environment = environment
        self.runner = runner
        self.told = told

    def finish(self) -> None:
        """Everything has been sent that was to be sent."""
        headless = self.environment.parsed_options.headless
        self.runner.quit() if headless else self.runner.stop()

    def end(self) -> Told:
        """Stop the test as patiently as Locust was told to; what rows there are."""
        self.runner.stop()
        return self.told()

    @property
    def testing(self) -> bool:
        """Whether a test is running, as far as this process knows."""
        return self.runner.state in (STATE_RUNNING, STATE_SPAWNING)


class Worker(Alone):
    """A worker: its users end when the master asks for it, and then it tells the master its rows.

    `own` is the file that no other worker writes to, "" when all share one.
    """

    speaks = False

    def __init__(
        self, environment: Any, runner: Any, number: int, own: str, told: Callable[[], Told]
    ) -> None:
        super().__init__(environment, runner, told)
        self._own = own
        environment.events.test_stop.add_listener(self.tell)
        runner.register_message(FINISH, self._on_finish)
        runner.send_message(HELLO, {"worker": number})

    def tell(self, **_more: object) -> None:
        """Tell the master what rows there are so far; its last word counts."""
        self.runner.send_message(COUNTS, msgspec.to_builtins(self.told()))

    def finish(self) -> None:
        """As for one alone; but the end is the master's business."""
        self.tell()

    def end(self) -> Told:
        """As for one alone; a file of its own is then signed, unless it has a hole."""
        early = self.testing
        told = super().end()
        if self._own and not told.problem:
            seat.sign(self._own, told.counts.written, early)
        return told

    def _on_finish(self, **_more: object) -> None:
        self.runner.stop()


class Master(Alone):
    """The master: gathers at each stop of the test what the workers tell. It has no rows itself.

    `when_all_told` is called when all of them have, and the test still runs.
    """

    def __init__(
        self, environment: Any, runner: Any, place: Seat, when_all_told: Callable[[], None]
    ) -> None:
        super().__init__(environment, runner, self._told_by_all)
        self._when_all_told = when_all_told
        self._numbers: dict[str, int] = {}
        self._latest: dict[str, Told] = {}
        self._silent: set[str] = set()
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stop.add_listener(self._on_test_stop)
        environment.events.worker_connect.add_listener(self._on_worker_connect)
        runner.register_message(HELLO, self._on_hello)
        # In a greenlet of its own: it may end the test, and with it the one that hears the workers.
        runner.register_message(COUNTS, self._on_counts, concurrent=True)
        if place.port_file:
            seat.tell_port(place.port_file, runner.server.port)

    def end(self) -> Told:
        """Stop the test in all workers; what rows there are."""
        # A worker that Locust tells "stop" is deaf to the "quit" that follows for --stop-timeout.
        self.runner.stop(send_stop_to_client=False)
        return self.told()

    def _told_by_all(self) -> Told:
        """The counts of all workers together, and the first problem that there is."""
        silent = (f"worker {self._name(node)} has not told its rows" for node in self._silent)
        found = (
            f"worker {self._name(node)}: {told.problem}"
            for node, told in self._latest.items()
            if told.problem
        )
        problems = [*sorted(silent), *sorted(found)]
        counts = Counts.total(told.counts for told in self._latest.values())
        return Told(counts, problems[0] if problems else "")

    def _name(self, node: str) -> str:
        return str(self._numbers.get(node, node))

    def _on_test_start(self, **_more: object) -> None:
        self._silent = set(self.runner.clients)

    def _on_worker_connect(self, client_id: str, **_more: object) -> None:
        if self.testing:
            self._silent.add(client_id)  # it gets users at once

    def _on_hello(self, msg: Any, **_more: object) -> None:
        self._numbers[msg.node_id] = msg.data["worker"]

    def _on_counts(self, msg: Any, **_more: object) -> None:
        self._latest[msg.node_id] = msgspec.convert(msg.data, Told)
        self._silent.discard(msg.node_id)
        if self.testing and not self._silent:
            self._when_all_told()

    def _on_test_stop(self, **_more: object) -> None:
        self.runner.send_message(FINISH)
        deadline = time.monotonic() + self.environment.stop_timeout + WORKERS_GRACE_S
        while self._awaited() and time.monotonic() < deadline:
            gevent.sleep(0.02)

    def _awaited(self) -> bool:
        """Whether a worker that has told nothing yet still can: its heart beats."""
        clients = self.runner.clients
        alive = {node for node in clients if clients[node].state != STATE_MISSING}
        return bool(self._silent & alive)


def rows_path(runner: Any, path: str, place: Seat) -> str:
    """Where the rows of this process go, when they are asked for at `path`; "" for nowhere.

    Raises:
        ValueError: it is this worker's own file, and there already.
    """
    if isinstance(runner, MasterRunner):
        return ""
    return seat.own_rows(path, _number(runner, place)) if isinstance(runner, WorkerRunner) else path


def join(
    environment: Any,
    runner: Any,
    path: str,
    place: Seat,
    told: Callable[[], Told],
    when_all_told: Callable[[], None] = lambda: None,
) -> Alone:
    """What this process is in a load whose rows are asked for at `path`; the rest is as above."""
    if isinstance(runner, MasterRunner):
        return Master(environment, runner, place, when_all_told)
    if isinstance(runner, WorkerRunner):
        number = _number(runner, place)
        own = path.replace(seat.PLACE, str(number)) if seat.PLACE in path else ""
        return Worker(environment, runner, number, own, told)
    return Alone(environment, runner, told)


def _number(runner: Any, place: Seat) -> int:
    number: int = runner.worker_index if place.worker is None else place.worker
    return number
