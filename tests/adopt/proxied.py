"""An nginx under the launcher, and clients that notice every refusal."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from bulkhead import proc
from bulkhead.http_probe import UnixConnection
from bulkhead.supervise.nginx import find_nginx
from bulkhead.testing import wait_until
from tests.adopt.launching import Child, Launcher


class Clients:
    """Threads that open a connection for each request; `answers` and `failures` are what came."""

    def __init__(self, connect: Callable[[], HTTPConnection]) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._connect = connect
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    @contextmanager
    def running(self) -> Iterator["Clients"]:
        for one in self._threads:
            one.start()
        try:
            yield self
        finally:
            self._over.set()
            for one in self._threads:
                one.join()

    def wait_for(self, more: int) -> None:
        """Wait until so many more answers have come."""
        wanted = len(self.answers) + more
        wait_until("more answers", lambda: len(self.answers) >= wanted)

    def wait_for_one_of(self, pids: set[str]) -> None:
        """Wait until one of these processes answers."""
        wait_until(f"an answer of {pids}", lambda: pids & set(self.answers[-20:]))

    def _run(self) -> None:
        while not self._over.is_set():
            connection = self._connect()
            try:
                connection.request("GET", "/", headers={"Connection": "close"})
                self.answers.append(connection.getresponse().read().decode())
            except OSError as error:
                self.failures.append(repr(error))
            finally:
                connection.close()


NGINX_CONF = """
daemon off;
worker_processes 2;
worker_shutdown_timeout 5s;
pid {run}/nginx.pid;
error_log {log}/nginx.error.log warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port};
        listen unix:{run}/internal.sock;
        location / {{ return 200 $pid; }}
    }}
}}
"""


class Proxy:
    """An nginx with a public and an internal listener."""

    def __init__(self, launch: Launcher, port: int) -> None:
        self.home = launch.home
        self.port = port
        self._launch = launch
        self.conf = self.home.etc / "nginx.conf"
        self.conf.write_text(
            NGINX_CONF.format(run=self.home.run, log=self.home.log, home=self.home.path, port=port)
        )
        launch.know("nginx", "nginx")
        self.child = self.start()

    def start(self) -> Child:
        """Launch a master; the one that was launched before is dead or is to be adopted."""
        program = find_nginx("nginx", os.environ["PATH"])
        command: list[str | Path] = [program, "-p", self.home.path, "-c", self.conf]
        self.child = self._launch.launch("nginx", command)
        found = self._launch.wait_led("nginx", self.child)
        wait_until("it has workers", lambda: len(proc.children(found.pid)) == 2)
        return self.child

    def pids(self) -> set[str]:
        """Its workers."""
        return {str(one.pid) for one in proc.children(self.child.pid)}

    def public(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=10)

    def internal(self) -> HTTPConnection:
        return UnixConnection(self.home.internal_socket, 10)

    def complaints(self) -> list[str]:
        """What nginx must never have to say."""
        log = (self.home.log / "nginx.error.log").read_text()
        said = log + self._launch.printed("nginx")
        return [line for line in said.splitlines() if re.search(r"\[(emerg|alert|crit)\]", line)]
