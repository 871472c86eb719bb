"""nginx with the watched balancer, alone: the test is its watchdog and keeps its instances."""

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from bulkhead import peer_table
from bulkhead.http_probe import UnixConnection
from bulkhead.peer_table import Peer, State
from bulkhead.records import ProxyRow
from bulkhead.render.files import write_all
from bulkhead.render.nginx import render_nginx
from bulkhead.render.paths import Home
from bulkhead.supervise.home import make_folders, prepare_run
from bulkhead.supervise.nginx import find_nginx
from bulkhead.testing import free_ports, is_free, wait_until
from bulkhead.topology.parse import load
from tests.support.http import Answer, request
from tests.support.rows import rows_so_far

TELL_EVERY_S = 0.2


@dataclass(frozen=True)
class Execution:
    """One request as an instance (tests/support/backend.py) saw it."""

    name: str
    now: int  # how many the instance had then, this one included
    method: str
    path: str
    body: int  # bytes


class Watched:
    """One nginx and the instances `api-1`, `api-2`, ... of one service behind it."""

    def __init__(self, folder: Path, ports: list[int], count: int, settings: list[str]) -> None:
        self.home = Home(folder)
        self.book = folder / "book"
        self.url = f"http://127.0.0.1:{ports[0]}"
        self.names = [f"api-{number}" for number in range(1, count + 1)]
        self.ports = {f"api-{number}": ports[number] for number in range(1, 20)}
        self.settings = [
            f"stack.home={folder}",
            f"proxy.listen=127.0.0.1:{ports[0]}",
            "services.web.instances=1",
            f"services.web.port={ports[30]}",
            f"services.api.port={ports[1]}",
            f"services.api.instances={count}",
            *settings,
        ]
        self.instances: dict[str, subprocess.Popen[bytes]] = {}
        self.states: dict[str, State] = dict.fromkeys(self.names, "up")
        self.weights = dict.fromkeys(self.names, 1)
        self.telling = threading.Event()  # set while the table is told all the time
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.nginx: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Render, start nginx, and wait until it answers."""
        self.render()
        prepare_run(self.home)
        program = find_nginx("nginx", "")
        self.nginx = subprocess.Popen(
            [program, "-p", self.home.path, "-c", self.home.nginx_conf], stderr=subprocess.DEVNULL
        )
        wait_until("nginx answers", self._answers)

    def _answers(self) -> bool:
        try:
            return self.connections() >= 0
        except OSError:
            return False

    def render(self) -> None:
        """Write the files of the topology."""
        topology = load(Path("stack.toml"), self.settings)
        make_folders(self.home)
        write_all(render_nginx(topology, user="root"))

    def serve(self, *names: str) -> None:
        """Start instances, all of them by default, and wait until their ports answer."""
        for name in names or self.names:
            command = [sys.executable, "-m", "tests.support.backend"]
            command += [name, str(self.ports[name]), str(self.book)]
            self.instances[name] = subprocess.Popen(command)
        for name in names or self.names:
            self._wait_for(self.ports[name])

    @staticmethod
    def _wait_for(port: int) -> None:
        wait_until(f"somebody listens on {port}", lambda: not is_free(port))

    def kill(self, *names: str) -> None:
        """SIGKILL instances, all of them by default."""
        for name in names or self.names:
            self.instances[name].kill()
        for name in names or self.names:
            self.buried(name)

    def buried(self, name: str) -> None:
        """Wait until an instance that was killed, by whomever, is gone."""
        self.instances.pop(name).wait(timeout=10)

    def tell(self, **states: State) -> None:
        """Tell nginx of these instances (`api_1="down"`), now and from now on all the time."""
        self.states |= {name.replace("_", "-"): state for name, state in states.items()}
        self.put()
        self.telling.set()

    def tell_all(self, state: State) -> None:
        """Tell nginx that all instances are in this state."""
        self.tell(**{name.replace("-", "_"): state for name in self.names})

    def tell_one(self, name: str, state: State) -> None:
        """Tell nginx of one instance by its name."""
        self.tell(**{name.replace("-", "_"): state})

    def add(self, name: str) -> None:
        """There is one more instance from now on; nginx has not been told that it is up."""
        with self.lock:
            self.states[name], self.weights[name] = "down", 1
            self.names.append(name)

    def put(self) -> None:
        """Tell nginx once."""
        with self.lock:
            connection = UnixConnection(self.home.internal_socket, 5)
            try:
                table = peer_table.table(self._peer(name) for name in self.names)
                connection.request("PUT", "/peers", table)
                assert connection.getresponse().status == 204
            finally:
                connection.close()

    def _peer(self, name: str) -> Peer:
        running = self.instances.get(name)
        return Peer(
            "api",
            name,
            f"127.0.0.1:{self.ports[name]}",
            self.weights[name],
            self.states[name],
            running.pid if running else 0,
        )

    def keep_telling(self) -> None:
        """What the watchdog does: the whole table again and again."""
        while not self.ended.wait(TELL_EVERY_S):
            if self.telling.is_set():
                with suppress(OSError, HTTPException):  # a test has killed the worker that had it
                    self.put()

    def ask(self, target: str = "/api/", method: str = "GET", **options: Any) -> Answer:
        """Any request through the public listener."""
        return request(self.url, method, target, **options)

    def in_flight(self) -> dict[str, int]:
        """What nginx thinks that each instance has now."""
        return {one.name: one.in_flight for one in peer_table.read(self.home.internal_socket)}

    def executions(self) -> list[Execution]:
        """What the instances have executed, in order."""
        lines = self.book.read_text().splitlines() if self.book.exists() else []
        return [Execution(**json.loads(line)) for line in lines]

    def busy(self) -> int:
        """How many requests nginx has now: those that wait, and those that an instance has."""
        return self._status("Writing:") - 1  # without the one that asks

    def connections(self) -> int:
        """How many connections of clients nginx has now."""
        return self._status("connections:") - 1  # without the one that asks

    def stored(self) -> int:
        """How many bytes nginx has in temporary files, which have no names any more."""
        size = 0
        for file in (fd for pid in self.workers() for fd in Path(f"/proc/{pid}/fd").iterdir()):
            with suppress(FileNotFoundError):  # closed since it was listed
                if "/tmp/proxy/" in str(file.readlink()):
                    size += file.stat().st_size
        return size

    def _status(self, word: str) -> int:
        """The number after `word` in what stub_status says."""
        connection = UnixConnection(self.home.internal_socket, 2)
        try:
            connection.request("GET", "/status")
            words = connection.getresponse().read().decode().split()
        finally:
            connection.close()
        return int(words[words.index(word) + 1])

    def rows(self, count: int) -> list[ProxyRow]:
        """The proxy's rows, as soon as there are as many as that."""

        def enough() -> list[ProxyRow] | None:
            rows = rows_so_far(self.home.proxy_rows, ProxyRow)
            return rows if len(rows) >= count else None

        found = wait_until(f"{count} rows", enough)
        assert len(found) == count
        return found

    def workers(self) -> list[int]:
        """The pids of nginx's workers."""
        assert self.nginx
        path = Path(f"/proc/{self.nginx.pid}/task/{self.nginx.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def signal_nginx(self, number: signal.Signals) -> None:
        """Send nginx's master a signal."""
        assert self.nginx
        self.nginx.send_signal(number)

    def stop(self) -> None:
        """End everything that runs."""
        self.ended.set()
        if self.nginx:
            self.nginx.terminate()
            self.nginx.wait()
        if self.instances:
            self.kill(*self.instances)


@contextmanager
def watched(
    folder: Path, *settings: str, count: int = 3, alerts: str = r"(?!)"
) -> Iterator[Watched]:
    """nginx is up and told of nothing yet, no instance runs. At the end nothing does, and nginx has
    complained of nothing but what `alerts` matches: no [alert], no [emerg], no error in Lua.
    """
    with free_ports() as ports:
        proxy = Watched(folder, ports, count, list(settings))
        teller = threading.Thread(target=proxy.keep_telling)
        try:
            proxy.start()
            teller.start()
            yield proxy
        finally:
            proxy.ended.set()
            if teller.ident:
                teller.join()
            proxy.stop()
        lines = proxy.home.nginx_log.read_text().splitlines()
        bad = [line for line in lines if re.search(r"\[alert\]|\[emerg\]|lua", line)]
        assert [line for line in bad if not re.search(alerts, line)] == []
