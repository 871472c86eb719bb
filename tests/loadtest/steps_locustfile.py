"""Sends the steps in BULKHEAD_TEST_STEPS, one after another, and quits.

Once is a user on Bulkhead's client; Stock is the same on Locust's own FastHttpUser.
"""

import json
import os
import time
import uuid
from typing import Any

import locust
from locust import FastHttpUser, task

from loadtest.client import Client
from loadtest.distributed import record_closed, settings_of
from loadtest.requests import Kind
from loadtest.settings import Settings
from loadtest.users import OnceUser

SETTINGS = settings_of(Settings)

STEPS = json.loads(os.environ["BULKHEAD_TEST_STEPS"])
CONNECT_TIMEOUT_S = 0.3
REQUEST_TIMEOUT_S = 0.5


class Once(OnceUser):
    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.clients: dict[str, Client] = {}

    @task
    def steps(self) -> None:
        for method, url, pause_s in STEPS:
            host, _, path = url.rpartition("/")
            body = {"a": 1} if method in ("POST", "PUT") else None
            self.to(host).send(Kind("step", method, f"/{path}", 200), body=body)
            time.sleep(pause_s)
        self.environment.runner.quit()

    def to(self, host: str) -> Client:
        if host not in self.clients:
            self.clients[host] = Client(
                host, self.environment, CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S
            )
        return self.clients[host]


class Stock(FastHttpUser):
    host = OnceUser.host  # it insists on one; the steps name their own

    @task
    def steps(self) -> None:
        for method, url, pause_s in STEPS:
            body = '{"a": 1}' if method in ("POST", "PUT") else None
            headers = {"X-Request-ID": uuid.uuid4().hex}
            self.client.request(method, url, data=body, headers=headers)
            time.sleep(pause_s)
        self.environment.runner.quit()


events: Any = locust.events
events.init.add_listener(record_closed(SETTINGS))
