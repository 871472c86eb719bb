"""The file for `locust -f loadtest/locustfile.py`: closed-loop users, as settings.py says."""

from typing import Any

import locust
from locust import LoadTestShape

from loadtest.distributed import patient_stop, record_closed, settings_of
from loadtest.schedule import at, stages
from loadtest.settings import ClosedSettings
from loadtest.users import Browser, OnceUser, Reader, Writer

__all__ = ["Browser", "Reader", "Shape", "Writer"]

DEFAULT_USERS = 50
DEFAULT_RUN_S = 60.0

chosen = settings_of(ClosedSettings)
OnceUser.host = chosen.proxy_url
OnceUser.pace = chosen.pace
Reader.does_work = chosen.work


class Shape(LoadTestShape):
    """Goes through the stages of the shape: --users is the peak, --run-time the whole run.

    A shape takes --users and --spawn-rate out of their usual meaning, so `steady` is none.
    """

    abstract = chosen.shape == "steady"
    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        """How many users there should be now; None ends the test."""
        elapsed_s: float = self.get_run_time()  # type: ignore[no-untyped-call]  # Locust has no hint
        options: Any = self.runner.environment.parsed_options if self.runner else None
        run_s = getattr(options, "run_time", None) or DEFAULT_RUN_S
        users = getattr(options, "num_users", None) or DEFAULT_USERS
        stage = at(stages(chosen.shape, run_s, users), elapsed_s)
        return (stage.users, stage.spawn_rate) if stage else None


events: Any = locust.events
events.init.add_listener(record_closed(chosen))
events.init_command_line_parser.add_listener(patient_stop(OnceUser.request_timeout_s))
