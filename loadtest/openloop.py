"""The file for `locust -f loadtest/openloop.py`: requests on a schedule, whatever the answers do.

One user owns the whole schedule, or in each worker the worker's shard, so --users does not matter.
What it measures: docs/load.md; what it may be told: OpenSettings in settings.py.
"""

import logging
import sys
from typing import Any

import locust
from locust import User, task
from locust.exception import StopUser

from loadtest import distributed
from loadtest.locust_stats import LocustStats
from loadtest.pacer import Pacer, Plan
from loadtest.rows import BROKEN, Journal
from loadtest.settings import OpenSettings
from loadtest.system import shortage

__all__ = ["OpenLoop"]

FILE = "loadtest/openloop.py"

log = logging.getLogger(__name__)

chosen = distributed.settings_of(OpenSettings)


class OpenLoop(User):
    """Sends everything that the schedule holds, then ends the test."""

    fixed_count = 1
    host = chosen.proxy_url

    @task
    def send_all(self) -> None:
        """Send all of it, from its first arrival to its last answer."""
        load: Load = self.environment.load
        shard = load.role.take_shard()
        if shard is None:
            load.refuse()
            raise StopUser
        try:
            plan = Plan(chosen, self.host or "", shard)
        except ValueError as error:
            self.environment.process_exit_code = 1
            log.error("host = %r: must be %s", self.host, error)
        else:
            log.info("%s", plan.story)
            load.carry_out(plan)
        if load.role.testing:
            load.role.finish()
        raise StopUser


class Load:
    """The open loop of this process: its role, and the pacer that sends.

    Raises:
        ValueError: Locust was started so that the load cannot run; the message says why.
        OSError: the file for the rows cannot be opened; Locust then ends the process.
    """

    def __init__(self, environment: Any) -> None:
        self.role = distributed.join(environment, chosen, Journal, distributed.OpenMaster)
        self.role.on_next_signal = self.cut
        self._stats = environment.stats
        self._pacer: Pacer | None = None
        environment.process_exit_code = 0  # also when requests fail
        environment.events.test_stopping.add_listener(self._on_test_stopping)

    def carry_out(self, plan: Plan) -> None:
        """Send what is planned, and count it, however that ends."""
        journal = self.role.journal
        self._pacer = Pacer(plan, journal, LocustStats(self._stats))
        try:
            self._pacer.run()
        except Exception as error:
            # Locust would log it and begin the schedule anew.
            short = shortage(error) if isinstance(error, OSError) else ""
            if short:
                journal.broken = f"{BROKEN}: {short}, or ask for fewer connections"
                log.error(journal.broken)
            else:
                journal.broken = BROKEN
                log.exception(BROKEN)
        finally:
            self._pacer = None

    def refuse(self) -> None:
        """Note that a user has nothing to send: the load is not what was asked for."""
        log.error("a user without a shard: workers have come or gone while the load ran")
        self.role.journal.broken = BROKEN

    def _on_test_stopping(self, **_more: object) -> None:
        if self._pacer:
            self._pacer.stop()
            log.info("no more arrivals; what is in flight may finish")

    def cut(self) -> None:
        """Wait for no answer any more."""
        if self._pacer:
            self._pacer.cut()


def install(environment: Any, **_more: object) -> None:
    """Locust's `init` listener."""
    try:
        environment.load = Load(environment)
    except ValueError as error:
        sys.exit(f"{FILE}: {error}")


def no_forks(parser: Any, **_more: object) -> None:
    """Refuse --processes before there are any: a fork would outlive a parent that is killed."""
    if number := parser.parse_known_args()[0].processes:
        sys.exit(f"{FILE}: --processes {number}: start --master and each --worker by itself")


events: Any = locust.events
events.init.add_listener(install)
events.init_command_line_parser.add_listener(distributed.patient_stop(chosen.request_timeout_s))
events.init_command_line_parser.add_listener(no_forks)
