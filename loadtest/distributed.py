"""The processes of a load: one alone, or Locust's master and workers, who end together.

Locust itself lets a master go half a second after it told its workers to quit, and counts what it
has heard of by then. Here each worker reports its rows, and the master waits for the reports. It
assigns each worker its shard of an open loop's schedule when the test begins.
"""

import logging
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import msgspec
from locust.runners import STATE_MISSING, STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from loadtest import rows
from loadtest.rows import BROKEN, EXIT_BROKEN, EXIT_ROWS, Journal, Recorder, Report
from loadtest.schedule import WHOLE, Shard
from loadtest.settings import Chosen, OpenSettings, Settings, read
from loadtest.system import (
    allow_files,
    call_on_next_signal,
    end_with_parent,
    let_ctrl_c_strike_only_the_main_greenlet,
)

# Messages between workers and master, beside Locust's own.
HELLO = "client_rows_hello"
COUNTS = "client_rows_counts"
FINISH = "client_rows_finish"
SHARD = "open_loop_shard"

WORKERS_GRACE_S = 5.0
LEAD_S = 1.0  # by then every worker has its shard, its user and its plan: all begin at one moment

MakeJournal = Callable[[str], Journal]

log = logging.getLogger(__name__)


def settings_of(kind: type[Chosen]) -> Chosen:
    """The settings of this process, which bad ones end at once, and its parent's end later."""
    try:
        chosen = read(kind, os.environ)
        end_with_parent(chosen.parent_pid)
    except ValueError as error:
        sys.exit(str(error))
    allow_files()
    return chosen


def patient_stop(request_timeout_s: float) -> Callable[..., None]:
    """Locust's `init_command_line_parser` listener: a stop waits for the requests in flight.

    --stop-timeout may say otherwise.
    """
    return lambda parser, **_more: parser.set_defaults(stop_timeout=request_timeout_s + 1)


class Alone:
    """The role of a process that is all of the load; `journal` has its rows, and what is wrong."""

    def __init__(self, environment: Any, settings: Settings, journal: Journal) -> None:
        self.environment = environment
        self.runner = environment.runner
        self.journal = journal
        self.on_next_signal: Callable[[], None] | None = None  # once the load is ending
        self._rows = settings.rows
        environment.events.quitting.add_listener(self._on_quitting)
        let_ctrl_c_strike_only_the_main_greenlet()

    def take_shard(self) -> Shard | None:
        """The shard that one user of an open loop is to carry out; None when there is none."""
        return WHOLE

    def finish(self, **_more: object) -> None:
        """End the load: everything has been sent that was to be sent."""
        headless = self.environment.parsed_options.headless
        self.runner.quit() if headless else self.runner.stop()

    def end(self) -> Report:
        """Stop the test as patiently as Locust was told to; then the report."""
        self.runner.stop()
        return self.journal.report()

    def _on_quitting(self, **_more: object) -> None:
        """Stop the test, say what rows there are, and set the exit code if some are missing."""
        # Locust fires this twice after a signal; users still run then, and it would end them only
        # after it has decided on the exit code.
        self.environment.events.quitting.remove_listener(self._on_quitting)
        if self.on_next_signal:
            call_on_next_signal(self.on_next_signal)
        report = self.end()
        if report.problem:
            broken = BROKEN in report.problem
            self.environment.process_exit_code = EXIT_BROKEN if broken else EXIT_ROWS
        # The master speaks for its workers.
        if report.problem or (self._rows and not isinstance(self.runner, WorkerRunner)):
            found = f"{report.written} in {self._rows}{self.journal.details.format(report)}"
            print(f"client rows: {report.problem or found}", file=sys.stderr)

    @property
    def testing(self) -> bool:
        """Whether a test is running, as far as this process knows."""
        return self.runner.state in (STATE_RUNNING, STATE_SPAWNING)


class Worker(Alone):
    """A worker: its users end when the master asks for it, and then it reports its rows to it.

    ValueError if the file for its rows is its own, and there already.
    """

    def __init__(self, environment: Any, settings: Settings, make: MakeJournal) -> None:
        runner = environment.runner
        number = runner.worker_index if settings.worker is None else settings.worker
        self._path = rows.own_path(settings.rows, number)
        super().__init__(environment, settings, make(self._path))
        self._shard: Shard | None = None
        environment.events.test_stop.add_listener(self.finish)
        runner.register_message(FINISH, lambda **_: runner.stop())
        runner.register_message(SHARD, self._on_shard)
        runner.send_message(HELLO, {"worker": number})

    def take_shard(self) -> Shard | None:
        """None: Locust has spread its users anew after a worker had come or gone."""
        shard, self._shard = self._shard, None
        return shard

    def end(self) -> Report:
        """As for one alone; then say that a file of its own is whole, unless it has a hole."""
        early = self.testing
        report = super().end()
        if self._path != self._rows and not report.problem:
            rows.write_end(self._path, report.written, early)
        return report

    def finish(self, **_more: object) -> None:
        """Tell the master what rows there are so far; the end of the load is its business."""
        self.runner.send_message(COUNTS, msgspec.to_builtins(self.journal.report()))

    def _on_shard(self, msg: Any, **_more: object) -> None:
        self._shard = Shard(**msg.data)


class Master(Alone):
    """The master: at each stop of the test it gathers the workers' reports. It has no rows."""

    def __init__(self, environment: Any, settings: Settings, make: MakeJournal) -> None:
        super().__init__(environment, settings, make(""))
        self._numbers: dict[str, int] = {}
        self._latest: dict[str, Report] = {}
        self._silent: set[str] = set()
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stop.add_listener(self._on_test_stop)
        environment.events.worker_connect.add_listener(self._on_worker_connect)
        self.runner.register_message(HELLO, self._on_hello)
        # In a greenlet of its own: it may end the test, and with it the one that hears the workers.
        self.runner.register_message(COUNTS, self._on_counts, concurrent=True)
        if settings.port_file:
            Path(settings.port_file).write_text(f"{self.runner.server.port}\n")

    def end(self) -> Report:
        """Stop the test in all workers; then the report of all: the first problem that there is."""
        # A worker that Locust tells "stop" is deaf to the "quit" that follows for --stop-timeout.
        self.runner.stop(send_stop_to_client=False)
        silent = [f"worker {self._name(node)} has not told its rows" for node in self._silent]
        total, broken = Report(), []
        for node, report in self._latest.items():
            total.written += report.written
            total.events += report.events
            total.stopped += report.stopped
            if report.problem:
                broken.append(f"worker {self._name(node)}: {report.problem}")
        total.problem = next(iter(sorted(silent) + sorted(broken)), "")
        return total

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
        self._latest[msg.node_id] = msgspec.convert(msg.data, Report)
        self._silent.discard(msg.node_id)

    def _on_test_stop(self, **_more: object) -> None:
        self.runner.send_message(FINISH)
        deadline = time.monotonic() + self.environment.stop_timeout + WORKERS_GRACE_S
        while time.monotonic() < deadline:
            clients = self.runner.clients
            # A worker that has not reported yet still can while its heartbeats arrive.
            alive = {name for name, one in clients.items() if one.state != STATE_MISSING}
            if not self._silent & alive:
                return
            gevent.sleep(0.02)


class OpenMaster(Master):
    """The master of an open loop: one user in each worker, and a shard for each of them.

    The load ends when all of them have reported.
    ValueError if it cannot divide the schedule among as many workers as are expected.
    """

    def __init__(self, environment: Any, settings: OpenSettings, make: MakeJournal) -> None:
        options = environment.parsed_options
        self._workers: int = options.expect_workers
        if not options.headless:
            raise ValueError("--master: needs --headless, for all workers share one schedule")
        if self._workers > settings.connections:
            raise ValueError(
                f"--expect-workers {self._workers}: must be at most the setting connections, "
                f"which is {settings.connections}"
            )
        super().__init__(environment, settings, make)
        for user in environment.user_classes:
            user.fixed_count = self._workers
        # Whatever was asked for; Locust reads it after its `init` event.
        options.num_users = options.spawn_rate = self._workers

    def _on_test_start(self, **more: object) -> None:
        """Locust fires it before it has a worker start its user, and messages keep their order."""
        super()._on_test_start(**more)
        nodes = sorted(self.runner.clients)
        if len(nodes) != self._workers:
            log.error("%d workers, expected %d: nothing is sent", len(nodes), self._workers)
            self.environment.process_exit_code = 1
            gevent.spawn(self.runner.quit)
            return
        began = time.monotonic() + LEAD_S
        for index, node in enumerate(nodes):
            shard = {"index": index, "of": len(nodes), "began": began}
            self.runner.send_message(SHARD, shard, node)

    def _on_counts(self, msg: Any, **more: object) -> None:
        super()._on_counts(msg, **more)
        if self.testing and not self._silent:
            self.runner.quit()


def join(
    environment: Any, settings: Settings, make: MakeJournal, master: Callable[..., Master] = Master
) -> Alone:
    """The role of this process; `make` makes the journal of a path for its rows, "" for nowhere.

    ValueError if it cannot have it; the message says why. OSError if the file for the rows cannot
    be opened; Locust then ends the process.
    """
    if isinstance(environment.runner, MasterRunner):
        return master(environment, settings, make)
    if isinstance(environment.runner, WorkerRunner):
        return Worker(environment, settings, make)
    return Alone(environment, settings, make(settings.rows))


def record_closed(settings: Settings) -> Callable[..., None]:
    """Locust's `init` listener for closed-loop users: each process gets `environment.recorder`.

    Locust calls it once per process, after --processes has forked.
    """

    def install(environment: Any, **_more: object) -> None:
        make = partial(Recorder, environment.events)
        try:
            environment.recorder = join(environment, settings, make).journal
        except ValueError as error:
            sys.exit(str(error))

    return install
