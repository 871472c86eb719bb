"""Users that always have a request in flight: one of 0.3 s, or one that is never answered."""

import os
from typing import Any

import locust
from locust import task

from loadtest import parent
from loadtest.client import Request
from loadtest.evidence import Evidence
from loadtest.users import OnceUser

parent.end_with_it(os.environ)


class Slow(OnceUser):
    @task
    def late(self) -> None:
        self.client.send(Request(method="GET", target="/late"))


class Hanging(OnceUser):
    def on_start(self) -> None:
        self.client.send(Request(method="GET", target="/ok"))

    @task
    def silent(self) -> None:
        self.client.send(Request(method="GET", target="/silent"))


events: Any = locust.events
events.init.add_listener(Evidence(os.environ.get("BULKHEAD_CLIENT_ROWS", "")))
