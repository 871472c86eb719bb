"""Users that always have a request in flight: one of 0.3 s, or one that is never answered."""

from typing import Any

import locust
from locust import task

from loadtest.distributed import record_closed, settings_of
from loadtest.requests import Kind
from loadtest.settings import Settings
from loadtest.users import OnceUser

SETTINGS = settings_of(Settings)


class Slow(OnceUser):
    @task
    def late(self) -> None:
        self.client.send(Kind("late", "GET", "/late", 200))


class Hanging(OnceUser):
    def on_start(self) -> None:
        self.client.send(Kind("ok", "GET", "/ok", 200))

    @task
    def silent(self) -> None:
        self.client.send(Kind("silent", "GET", "/silent", 200))


events: Any = locust.events
events.init.add_listener(record_closed(SETTINGS))
