"""Closed-loop users without a pause: Once on this project's client, Plain on Locust's fastest."""

from typing import Any

import locust
from locust import FastHttpUser, task

from loadtest.distributed import record_closed, settings_of
from loadtest.requests import Kind
from loadtest.settings import Settings
from loadtest.users import OnceUser


class Once(OnceUser):
    """Sends through this project's client, with a row for each request when rows are asked for."""

    @task
    def get(self) -> None:
        """One request."""
        self.client.send(Kind("one", "GET", "/", 200))


class Plain(FastHttpUser):
    """Sends through Locust's own FastHttpUser."""

    @task
    def get(self) -> None:
        """One request."""
        self.client.get("/")


events: Any = locust.events
events.init.add_listener(record_closed(settings_of(Settings)))
