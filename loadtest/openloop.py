"""What `locust -f loadtest/openloop.py` runs: requests on a schedule, whatever the answers do.

One user owns the whole schedule, so --users is always 1. What it measures: docs/load.md; what the
environment may ask for: open_settings.py.
"""

import logging
import os
import sys
from typing import Any

import locust
from locust import User, task
from locust.exception import StopUser
from locust.runners import LocalRunner

from loadtest import open_settings, parent, signals
from loadtest.books import Books
from loadtest.pacer import Pacer
from loadtest.plan import Plan, planned
from loadtest.tally import Tally

__all__ = ["OpenLoop"]

ALONE = "loadtest/openloop.py: one process owns the whole schedule: no --processes"

log = logging.getLogger(__name__)

try:
    chosen = open_settings.read(os.environ)
    parent.end_with_it(os.environ)
except ValueError as error:
    sys.exit("\n".join(f"loadtest/openloop.py: {line}" for line in str(error).splitlines()))


class OpenLoop(User):
    """Sends everything that the schedule holds, then ends the test."""

    fixed_count = 1
    host = chosen.proxy_url

    @task
    def send_all(self) -> None:
        """The whole load, from its first arrival to its last answer."""
        books: Books = self.environment.books
        runner = self.environment.runner
        try:
            plan = self.plan()
        except ValueError as error:
            self.environment.process_exit_code = 1
            log.error("host = %r: must be %s", self.host, error)
        else:
            log.info("%s", plan.story)
            books.carry_out(Pacer(plan, books.journal, Tally(self.environment.stats)))
        if not books.stopping:
            runner.quit() if self.environment.parsed_options.headless else runner.stop()
        raise StopUser

    def plan(self) -> Plan:
        """What is to be sent.

        Raises:
            ValueError: `host` will not do; the message says what it must be.
        """
        return planned(chosen, self.host or "")


def install(environment: Any, runner: Any, **_more: object) -> None:
    """Locust's `init` listener: the books of this process, and an orderly end."""
    if not isinstance(runner, LocalRunner):
        sys.exit(ALONE)
    environment.books = books = Books(chosen.rows)
    environment.events.test_start.add_listener(books.on_test_start)
    environment.events.test_stopping.add_listener(books.on_test_stopping)

    def on_quitting(**_more: object) -> None:
        # Locust fires this twice after a signal; the user still runs then, and Locust would end it
        # only after it has decided on the exit code.
        environment.events.quitting.remove_listener(on_quitting)
        signals.call_on_the_next(books.cut)
        runner.stop()
        environment.process_exit_code = books.close() or environment.process_exit_code or 0

    environment.events.quitting.add_listener(on_quitting)
    signals.let_ctrl_c_strike_only_the_main_greenlet()


def patient_stop(parser: Any, **_more: object) -> None:
    """A stop waits for the requests in flight, unless --stop-timeout says otherwise."""
    parser.set_defaults(stop_timeout=chosen.request_timeout_s + 1)


def one_process(parser: Any, **_more: object) -> None:
    """Refuse workers before they exist: one without a master looks for it for five minutes."""
    if parser.parse_known_args()[0].processes:
        sys.exit(ALONE)


events: Any = locust.events
events.init.add_listener(install)
events.init_command_line_parser.add_listener(patient_stop)
events.init_command_line_parser.add_listener(one_process)
