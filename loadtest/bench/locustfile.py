"""Closed-loop users without a pause: Once on this project's client, Stock on Locust's fastest."""

import os
from typing import Any

import locust
from locust import FastHttpUser, task

from loadtest.client import Request
from loadtest.evidence import Evidence
from loadtest.users import OnceUser


class Once(OnceUser):
    """Sends through loadtest.client, with a row for each request when rows are asked for."""

    @task
    def get(self) -> None:
        """One request."""
        self.client.send(Request(method="GET", target="/"))


class Stock(FastHttpUser):
    """Sends through Locust's own FastHttpUser."""

    @task
    def get(self) -> None:
        """One request."""
        self.client.get("/")


events: Any = locust.events
events.init.add_listener(Evidence(os.environ.get("BULKHEAD_CLIENT_ROWS", "")))
