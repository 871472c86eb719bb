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
from loadtest.distributed import Alone
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
    pacer: Pacer | None = None  # while it sends

    @task
    def send_all(self) -> None:
        """Send all of it, from its first arrival to its last answer."""
        role: Alone = self.environment.role
        shard = role.take_shard()
        if shard is None:
            log.error("a user without a shard: workers have come or gone while the load ran")
            role.journal.broken = BROKEN
            raise StopUser
        try:
            plan = Plan(chosen, self.host or "", shard)
        except ValueError as error:
            self.environment.process_exit_code = 1
            log.error("host = %r: must be %s", self.host, error)
        else:
            log.info("%s", plan.story)
            self._carry_out(plan, role.journal)
        if role.testing:
            role.finish()
        raise StopUser

    def _carry_out(self, plan: Plan, journal: Journal) -> None:
        """Send what is planned, and count it, however that ends."""
        OpenLoop.pacer = Pacer(plan, journal, self.environment.stats)
        try:
            OpenLoop.pacer.run()
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
            OpenLoop.pacer = None


def install(environment: Any, **_more: object) -> None:
    """Locust's `init` listener: the role of this process."""
    try:
        role = distributed.join(environment, chosen, Journal, distributed.OpenMaster)
    except ValueError as error:
        sys.exit(f"{FILE}: {error}")
    role.on_next_signal = cut
    environment.role = role
    environment.process_exit_code = 0  # also when requests fail


def stop(**_more: object) -> None:
    """Locust's `test_stopping` listener: no more arrivals."""
    if OpenLoop.pacer:
        OpenLoop.pacer.stop()
        log.info("no more arrivals; what is in flight may finish")


def cut() -> None:
    """Wait for no answer any more."""
    if OpenLoop.pacer:
        OpenLoop.pacer.cut()


def no_forks(parser: Any, **_more: object) -> None:
    """Refuse --processes before there are any: a fork would outlive a parent that is killed."""
    if number := parser.parse_known_args()[0].processes:
        sys.exit(f"{FILE}: --processes {number}: start --master and each --worker by itself")


events: Any = locust.events
events.init.add_listener(install)
events.test_stopping.add_listener(stop)
events.init_command_line_parser.add_listener(distributed.patient_stop(chosen.request_timeout_s))
events.init_command_line_parser.add_listener(no_forks)
