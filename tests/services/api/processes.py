"""Real instances of the API service on free ports, which share a ledger and a row file."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from bulkhead.testing import is_free, wait_until
from tests.support.databases import Server
from tests.support.http import Answer, request

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "services.api"]


class Api:
    """One process of the service. It writes its log to a file that a failing test can show."""

    def __init__(
        self, name: str, port: int, folder: Path, settings: dict[str, str], prefix: Sequence[str]
    ) -> None:
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self.log = folder / f"{name}.{port}.log"
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BULKHEAD_")},
            "BULKHEAD_SERVICE": "api",
            "BULKHEAD_INSTANCE": name,
            "BULKHEAD_ADDRESS": f"127.0.0.1:{port}",
            "BULKHEAD_LEDGER_URL": f"sqlite:///{folder / 'ledger.sqlite3'}",
            "BULKHEAD_ROWS": str(folder / "service.jsonl"),
            **settings,
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, *COMMAND], cwd=ROOT, env=self.environ, stderr=log
            )

    def wait_ready(self) -> "Api":
        """Return once /readyz answers 200; fail when the process ends before."""

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return self.get("/readyz").status == 200
            except OSError:
                return False

        wait_until(f"{self.name} is ready", ready)
        return self

    def request(
        self,
        method: str,
        target: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own; a `body` that is not bytes is sent as JSON."""
        return request(self.url, method, target, body, headers)

    def get(self, target: str, **headers: str) -> Answer:
        """GET; header names are given with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("GET", target, headers=named)

    def add(self, account: str = "a", amount: int = 1, **headers: str) -> Answer:
        """POST an entry; header names are given with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request(
            "POST", "/api/v1/entries", {"account": account, "amount": amount}, named
        )

    def connect(self) -> HTTPConnection:
        """An open keep-alive connection."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=15)
        connection.connect()
        return connection

    def send(self, *pieces: bytes) -> Answer:
        """Send raw bytes on a connection of their own and read one answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=15) as stream:
            for piece in pieces:
                stream.sendall(piece)
            return read_answer(stream)

    def metric(self, name: str) -> float:
        """The value of one unlabelled metric."""
        lines = self.get("/metrics").body.decode().splitlines()
        return next(
            float(line.split()[1]) for line in lines if line.startswith(f"bulkhead_api_{name} ")
        )

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and do not wait."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code, once there is one."""
        return self.process.wait(15)


class Fleet:
    """The instances of one test."""

    def __init__(self, folder: Path, ports: list[int], server: Server | None = None) -> None:
        self.folder = folder
        self._server = server
        self._database = f"test_{uuid.uuid4().hex}"
        if server:
            server.sql(f"CREATE DATABASE {self._database}")
        self.instances: list[Api] = []
        # A test that provokes a fault of the service finds its traceback in the log.
        self.expect_faults = False
        self.prefix: list[str] = []  # what runs an instance
        self._ports = ports

    def launch(self, port: int = 0, **settings: str) -> Api:
        """Start an instance without waiting for it; settings are named without BULKHEAD_."""
        if self._server:
            settings = self._server.settings(self._database) | settings
        named = {f"BULKHEAD_{name.upper()}": value for name, value in settings.items()}
        number = len(self.instances) + 1
        api = Api(f"api-{number}", port or self._ports[number - 1], self.folder, named, self.prefix)
        self.instances.append(api)
        return api

    def start(self, port: int = 0, **settings: str) -> Api:
        """Start an instance and wait until it is ready."""
        return self.launch(port, **settings).wait_ready()

    def stop(self) -> None:
        """Stop what runs; every process must end well and leave no port and no fault in its log."""
        running = [api for api in self.instances if api.process.poll() is None]
        for api in running:
            api.terminate()
        codes = {api.name: api.wait() for api in running}
        assert set(codes.values()) <= {0}, codes
        for api in self.instances:
            assert is_free(api.port), f"{api.name} left its port"
            log = api.log.read_text()
            faults = [line for line in log.splitlines() if "Traceback" in line or "ERROR" in line]
            assert bool(faults) <= self.expect_faults, log

    def abandon(self) -> None:
        """Leave no process behind, whatever happened."""
        for api in self.instances:
            if api.process.poll() is None:
                api.kill()

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query on the ledger's own file, or on its server."""
        if self._server:
            return self._server.sql(query, *values, database=self._database)
        with closing(self.database()) as database:
            return database.execute(query, values).fetchall()

    def database(self) -> sqlite3.Connection:
        """A connection to the ledger's own file."""
        return sqlite3.connect(
            self.folder / "ledger.sqlite3", isolation_level=None, check_same_thread=False
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the ledger's write lock, as another process would that hangs in a transaction."""
        with closing(self.database()) as database:
            database.execute("BEGIN IMMEDIATE")
            yield

    def rows(self, count: int) -> list[dict[str, Any]]:
        """The service rows of all instances; waits for `count`, as an end follows its answer."""
        path = self.folder / "service.jsonl"
        wait_until(f"{count} rows", lambda: path.read_text().count("\n") >= count)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert len(rows) == count
        return rows


def read_answer(stream: socket.socket) -> Answer:
    """Read one answer from a socket."""
    response = HTTPResponse(stream)
    response.begin()
    try:
        return Answer(response.status, response.headers, response.read())
    finally:
        response.close()
