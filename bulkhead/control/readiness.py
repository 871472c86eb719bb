"""Is an instance ready? Asked through nginx's internal listener, where each has a path of its own.

An answer counts only when it carries the identity of the instance that was asked: a port that
someone else answers, or two instances that were mixed up, is not ready.
"""

import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bulkhead.control.unix import UnixConnection
from bulkhead.render.paths import Home
from bulkhead.topology.model import Instance, Topology

CONNECT_S = 0.25
PROBE_TIMEOUT_S = 2.5  # more than the internal listener's own read time-out, so nginx answers first


def proxy_ready(internal: Path) -> bool:
    """Whether nginx serves."""
    return _get(internal, "/status")[0] == 200


def accepts(instance: Instance) -> bool:
    """Whether something listens at its address: cheaper to ask than nginx, which logs a failure."""
    with socket.socket(socket.AF_INET) as trial:
        trial.settimeout(CONNECT_S)
        try:
            trial.connect((instance.host, instance.port))
        except OSError:
            return False
        return True


def instance_ready(topology: Topology, instance: Instance) -> bool:
    """Whether this instance says it is ready, in its own name.

    It is asked through nginx, as clients will; on a host without one, at its own address.
    """
    if topology.has_proxy:
        status, who = _get(Home(topology.home).internal_socket, f"/{instance.name}/readyz")
    else:
        connection = HTTPConnection(instance.host, instance.port, timeout=PROBE_TIMEOUT_S)
        status, who = _ask(connection, "GET", "/readyz")
    return status == 200 and who == instance.name


def public_answer(url: str, route: str) -> str:
    """Which instance answers a route at the public listener; empty when none does."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=PROBE_TIMEOUT_S)
    return _ask(connection, "HEAD", route)[1]


def _get(internal: Path, target: str) -> tuple[int, str]:
    return _ask(UnixConnection(internal, PROBE_TIMEOUT_S), "GET", target)


def _ask(connection: HTTPConnection, method: str, target: str) -> tuple[int, str]:
    """Status (0 when nobody answers) and who answered."""
    try:
        connection.request(method, target, headers={"X-Request-ID": "readiness-probe"})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("X-Instance", "")
    except (OSError, HTTPException):
        return 0, ""
    finally:
        connection.close()
