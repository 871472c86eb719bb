"""Is an instance, or nginx, ready? Which process has answered?

Every answer carries the name of the instance and the pid of the process that gave it, and it counts
only as an answer of those: a port that another program has taken, two instances that were mixed up,
or a worker of the nginx before is not ready. Standard library only.
"""

import json
import socket
from collections.abc import Collection
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bulkhead.proc import Process, children

CONNECT_S = 0.25
ANSWER_S = 2.5  # more than the internal listener's own read time-out, so nginx answers first
REQUEST_ID = "readiness-probe"


class UnixConnection(HTTPConnection):
    """An HTTP connection to a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Answer:
    """An answer, as far as a probe needs it; the default is that none has come."""

    status: int = 0
    instance: str = ""
    pid: int = 0  # of the process that answered; 0 when it does not say
    body: bytes = b""

    def is_ok(self, name: str) -> bool:
        """Whether the instance of this name gave it, and says yes."""
        return self.status == 200 and self.instance == name

    def is_from(self, processes: Collection[Process]) -> bool:
        """Whether one of these processes gave it."""
        return self.pid in {process.pid for process in processes}


def ask(connection: HTTPConnection, target: str, method: str = "GET") -> Answer:
    """Send one request and close the connection."""
    try:
        connection.request(method, target, headers={"X-Request-ID": REQUEST_ID})
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException):
        return Answer()
    finally:
        connection.close()
    pid = response.headers.get("X-Boot", "").partition(".")[0]
    return Answer(
        response.status,
        response.headers.get("X-Instance", ""),
        int(pid) if pid.isdecimal() else 0,
        body,
    )


def ask_nginx(internal: Path, target: str) -> Answer:
    """Ask nginx at its internal listener."""
    return ask(UnixConnection(internal, ANSWER_S), target)


def generation(internal: Path) -> str:
    """Which rendering the worker of nginx that answers serves; empty when none answers."""
    return ask_nginx(internal, "/generation").body.decode(errors="replace")


def accepts(host: str, port: int) -> bool:
    """Whether connecting works; nothing is sent. Cheaper than nginx, which logs a failure."""
    try:
        with socket.create_connection((host.strip("[]"), port), CONNECT_S) as trial:
            # A free port that the kernel may give to clients can be connected to itself.
            return bool(trial.getsockname() != trial.getpeername())
    except OSError:
        return False


def answers(
    host: str, port: int, name: str, target: str = "/healthz", timeout_s: float = ANSWER_S
) -> bool:
    """Whether the instance `name` answers at this address; to /readyz, whether it is ready."""
    return ask(HTTPConnection(host, port, timeout=timeout_s), target).is_ok(name)


def leader_ready(address: str, name: str, leader: Process) -> bool:
    """Whether an instance says at its address that it is ready, by this leader or its child."""
    answer = ask(HTTPConnection(address, timeout=ANSWER_S), "/readyz")
    return answer.is_ok(name) and answer.is_from([leader, *children(leader.pid)])


def dropped_rows(address: str) -> int:
    """How many rows the worker that answers could not write since it started; 0 if none says."""
    try:
        health = json.loads(ask(HTTPConnection(address, timeout=ANSWER_S), "/healthz").body)
        return int(health["rows_dropped"])
    except (ValueError, KeyError, TypeError):
        return 0
