"""What `locust -f loadtest/openloop.py` runs: requests on a schedule, whatever the answers do.

One user owns the whole schedule, or in each worker the worker's share, so --users does not matter.
What it measures: docs/load.md; what the environment may ask for: open_settings.py and seat.py.
"""

import logging
import os
import sys
from typing import Any

import locust
from locust import User, task
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from loadtest import distributed, open_settings, parent, seat, signals
from loadtest.books import Books, exit_code
from loadtest.deal import Dealer, Hand
from loadtest.pacer import Pacer
from loadtest.plan import Plan, planned
from loadtest.share import WHOLE, Share
from loadtest.tally import Tally

__all__ = ["OpenLoop"]

FILE = "loadtest/openloop.py"

log = logging.getLogger(__name__)

try:
    chosen = open_settings.read(os.environ)
    place = seat.read(os.environ)
    parent.end_with_it(os.environ)
except ValueError as error:
    sys.exit("\n".join(f"{FILE}: {line}" for line in str(error).splitlines()))


class OpenLoop(User):
    """Sends everything that the schedule holds, then ends the test."""

    fixed_count = 1
    host = chosen.proxy_url

    @task
    def send_all(self) -> None:
        """All of it, from its first arrival to its last answer."""
        environment = self.environment
        books: Books = environment.books
        share = environment.hand.take()
        if share is None:
            books.refuse()
            raise StopUser
        try:
            plan = self.plan(share)
        except ValueError as error:
            environment.process_exit_code = 1
            log.error("host = %r: must be %s", self.host, error)
        else:
            log.info("%s", plan.story)
            books.carry_out(Pacer(plan, books.journal, Tally(environment.stats)))
        if not books.stopping:
            environment.part.finish()
        raise StopUser

    def plan(self, share: Share = WHOLE) -> Plan:
        """What is to be sent.

        Raises:
            ValueError: `host` will not do; the message says what it must be.
        """
        return planned(chosen, self.host or "", share)


def install(environment: Any, runner: Any, **_more: object) -> None:
    """Locust's `init` listener: this process's books, its part, and an orderly end."""
    options = environment.parsed_options
    try:
        if isinstance(runner, MasterRunner):
            require_one_schedule(options)
        path = distributed.rows_path(runner, chosen.rows, place)
    except ValueError as error:
        sys.exit(f"{FILE}: {error}")
    environment.books = books = Books(path)
    environment.hand = hand = Hand()
    environment.part = part = distributed.join(
        environment, runner, chosen.rows, place, books.told, when_all_told=runner.quit
    )
    if isinstance(runner, MasterRunner):
        Dealer(environment, runner, options.expect_workers)
    elif isinstance(runner, WorkerRunner):
        hand.listen(runner)
    environment.events.test_start.add_listener(books.on_test_start)
    environment.events.test_stopping.add_listener(books.on_test_stopping)

    def on_quitting(**_more: object) -> None:
        # Locust fires this twice after a signal; the user still runs then, and Locust would end it
        # only after it has decided on the exit code.
        environment.events.quitting.remove_listener(on_quitting)
        signals.call_on_the_next(books.cut)
        told = part.end()
        if told.problem or (chosen.rows and part.speaks):
            line = told.problem or f"{told.counts.written} in {chosen.rows}"
            print(f"client rows: {line}", file=sys.stderr)
        environment.process_exit_code = exit_code(told) or environment.process_exit_code or 0

    environment.events.quitting.add_listener(on_quitting)
    signals.let_ctrl_c_strike_only_the_main_greenlet()


def require_one_schedule(options: Any) -> None:
    """Check that a master can deal out the schedule to as many workers as are expected.

    Raises:
        ValueError: it cannot; the message says why.
    """
    if not options.headless:
        raise ValueError("--master: needs --headless, for all workers share one schedule")
    if options.expect_workers > chosen.connections:
        raise ValueError(
            f"--expect-workers {options.expect_workers}: must be at most BULKHEAD_CONNECTIONS, "
            f"which is {chosen.connections}"
        )


def patient_stop(parser: Any, **_more: object) -> None:
    """A stop waits for the requests in flight, unless --stop-timeout says otherwise."""
    parser.set_defaults(stop_timeout=chosen.request_timeout_s + 1)


def no_forks(parser: Any, **_more: object) -> None:
    """Refuse --processes before there are any: a fork would outlive a parent that is killed."""
    if number := parser.parse_known_args()[0].processes:
        sys.exit(f"{FILE}: --processes {number}: start --master and each --worker by itself")


events: Any = locust.events
events.init.add_listener(install)
events.init_command_line_parser.add_listener(patient_stop)
events.init_command_line_parser.add_listener(no_forks)
