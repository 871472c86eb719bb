"""The end of a load test: every row on disk, every request accounted for, or exit code EXIT_ROWS.

A process that finds a hole in its rows says so in one line. With worker processes each of them
tells the master what it counted, and the master, before it lets them go, waits until all have.
"""

import sys
import time
from functools import partial
from typing import Any

import gevent
import msgspec
from locust.runners import MasterRunner, WorkerRunner

from loadtest.recorder import Counts, Recorder
from loadtest.signals import let_ctrl_c_strike_only_the_main_greenlet

EXIT_ROWS = 3
COUNTS = "client_rows_counts"
FINISH = "client_rows_finish"
WORKERS_GRACE_S = 5.0


class Evidence:
    """Locust's `init` listener, which Locust calls once per process, after --processes has forked.

    It gives the process its recorder, as `environment.recorder`, writing to the file at `path`.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def __call__(self, environment: Any, runner: Any, **_more: object) -> None:
        """Install a recorder in this process.

        Raises:
            OSError: the file for the rows cannot be opened; Locust then ends the process.
        """
        environment.recorder = recorder = Recorder(self._path)
        environment.events.request.add_listener(recorder.on_request)
        environment.events.test_start.add_listener(recorder.on_test_start)
        environment.events.test_stopping.add_listener(recorder.on_test_stopping)
        environment.events.test_stop.add_listener(recorder.on_test_stop)
        problem, stop = recorder.problem, runner.stop
        if isinstance(runner, MasterRunner):
            problem = _Master(environment, runner, recorder).problem
            # A worker that is told "stop" is deaf to the "quit" that follows for --stop-timeout.
            stop = partial(runner.stop, send_stop_to_client=False)
        elif isinstance(runner, WorkerRunner):
            _tell_master(environment, runner, recorder)

        def on_quitting(**_more: object) -> None:
            # Locust fires this twice after a signal; users still run then, and it would end them
            # only after it has decided on the exit code.
            environment.events.quitting.remove_listener(on_quitting)
            stop()
            _report(environment, recorder, problem(), isinstance(runner, WorkerRunner))

        environment.events.quitting.add_listener(on_quitting)
        let_ctrl_c_strike_only_the_main_greenlet()


def _tell_master(environment: Any, runner: Any, recorder: Recorder) -> None:
    """In a worker: end the users when the master asks, and send the counts once they have ended."""

    def on_test_stop(**_more: object) -> None:
        runner.send_message(COUNTS, msgspec.to_builtins(recorder.counts))

    def on_finish(**_more: object) -> None:
        runner.stop()

    environment.events.test_stop.add_listener(on_test_stop)
    runner.register_message(FINISH, on_finish)


class _Master:
    """In the master: gathers the workers' counts at each stop of the test.

    Locust itself lets a master go half a second after it told its workers to quit, whatever they
    still have in flight.
    """

    def __init__(self, environment: Any, runner: Any, recorder: Recorder) -> None:
        self._environment = environment
        self._runner = runner
        self._recorder = recorder
        self._latest: dict[str, Counts] = {}
        self._silent: set[str] = set()
        environment.events.test_start.add_listener(self._on_test_start)
        environment.events.test_stop.add_listener(self._on_test_stop)
        runner.register_message(COUNTS, self._on_counts)

    def problem(self) -> str:
        if not self._recorder.path:
            return ""
        if self._silent:
            return f"{len(self._silent)} workers did not tell their counts: rows may be missing"
        return self._recorder.counts.problem()

    def _on_test_start(self, **_more: object) -> None:
        self._silent = set(self._runner.clients)

    def _on_counts(self, msg: Any, **_more: object) -> None:
        self._latest[msg.node_id] = msgspec.convert(msg.data, Counts)
        self._silent.discard(msg.node_id)
        self._recorder.counts = Counts.total(self._latest.values())

    def _on_test_stop(self, **_more: object) -> None:
        if self._silent:
            self._runner.send_message(FINISH)
        deadline = time.monotonic() + self._environment.stop_timeout + WORKERS_GRACE_S
        while self._silent and time.monotonic() < deadline:
            gevent.sleep(0.02)


def _report(environment: Any, recorder: Recorder, problem: str, quiet: bool) -> None:
    counts = recorder.counts
    if problem:
        print(f"client rows: {problem}", file=sys.stderr)
        environment.process_exit_code = EXIT_ROWS
    elif recorder.path and not quiet:
        print(
            f"client rows: {counts.written} in {recorder.path} ({counts.events} told to Locust, "
            f"{counts.stopped} cut off by the stop)",
            file=sys.stderr,
        )
