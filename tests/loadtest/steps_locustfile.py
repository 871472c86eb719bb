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

from loadtest import parent
from loadtest.client import Client, Request
from loadtest.evidence import Evidence
from loadtest.settings import address
from loadtest.users import OnceUser
from loadtest.wire import Connection

parent.end_with_it(os.environ)

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
            self.to(host).send(Request(method=method, target=f"/{path}", body=body))
            time.sleep(pause_s)
        self.environment.runner.quit()

    def to(self, host: str) -> Client:
        if host not in self.clients:
            connection = Connection(address(host), CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S)
            self.clients[host] = Client(
                host, connection, self.environment.recorder, self.environment.events.request
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
events.init.add_listener(Evidence(os.environ.get("BULKHEAD_CLIENT_ROWS", "")))
