"""The end of a load test: every row on disk, every request accounted for, or exit code EXIT_ROWS.

A process that finds a hole in its rows says so in one line. With worker processes the master says
it, for all of them (distributed.py).
"""

import sys
from typing import Any

from loadtest import distributed
from loadtest.recorder import Recorder, Told
from loadtest.seat import Seat
from loadtest.signals import let_ctrl_c_strike_only_the_main_greenlet

EXIT_ROWS = 3
NO_SEAT = Seat()


class Evidence:
    """Locust's `init` listener, which Locust calls once per process, after --processes has forked.

    It gives the process its recorder, as `environment.recorder`, writing to the file at `path`; a
    worker may have one of its own (seat.py).
    """

    def __init__(self, path: str, place: Seat = NO_SEAT) -> None:
        self._path = path
        self._place = place

    def __call__(self, environment: Any, runner: Any, **_more: object) -> None:
        """Install a recorder in this process.

        Raises:
            OSError: the file for the rows cannot be opened; Locust then ends the process.
        """
        try:
            path = distributed.rows_path(runner, self._path, self._place)
        except ValueError as error:
            sys.exit(str(error))
        environment.recorder = recorder = Recorder(path)
        here = distributed.join(environment, runner, self._path, self._place, recorder.told)
        environment.events.request.add_listener(recorder.on_request)
        environment.events.test_start.add_listener(recorder.on_test_start)
        environment.events.test_stopping.add_listener(recorder.on_test_stopping)
        environment.events.test_stop.add_listener(recorder.on_test_stop)

        def on_quitting(**_more: object) -> None:
            # Locust fires this twice after a signal; users still run then, and it would end them
            # only after it has decided on the exit code.
            environment.events.quitting.remove_listener(on_quitting)
            told = here.end()
            if told.problem:
                environment.process_exit_code = EXIT_ROWS
            if told.problem or (self._path and here.speaks):
                print(f"client rows: {told.problem or _summary(told, self._path)}", file=sys.stderr)

        environment.events.quitting.add_listener(on_quitting)
        let_ctrl_c_strike_only_the_main_greenlet()


def _summary(told: Told, path: str) -> str:
    counts = told.counts
    return (
        f"{counts.written} in {path} ({counts.events} told to Locust, "
        f"{counts.stopped} cut off by the stop)"
    )
