"""nginx's workers hand over to new ones, and no client meets a connection that is being closed.

nginx closes idle client connections the moment its workers are told to end, even one on which the
next request is just arriving. So they announce it first: for `closing_s` each answer that they give
says `Connection: close`, and whoever uses its connection in that time leaves by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException

from bulkhead.clock import pause, wait_until
from bulkhead.control import nginx, process, record
from bulkhead.control.logs import tail
from bulkhead.control.process import Process
from bulkhead.control.record import Record
from bulkhead.control.unix import UnixConnection
from bulkhead.errors import StartError, StateError
from bulkhead.render.nginx import generation_of
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import STOP_MARGIN_S
from bulkhead.topology.model import ProxySection

BOOT_S = 15  # a new master, with the sockets of the old one


def master(home: Home) -> Process:
    """The process that leads nginx.

    Raises:
        StateError: there is none.
    """
    found = record.leader(home, "nginx")
    if found is None:
        raise StateError("nginx is not running now; see `make status` and `make logs`")
    return found


def reconfigure(home: Home, running: Record, text: str, proxy: ProxySection) -> None:
    """Let new workers serve another configuration, and the old ones finish what they have.

    Raises:
        ConfigError, StateError, StartError: as `nginx.take_over`.
    """
    with announced(home, process.children(master(home).pid), proxy):
        nginx.take_over(running, home, text)


def succeed(
    home: Home, proxy: ProxySection, old: Process | None, kill: Callable[[], None]
) -> Process:
    """Let a new master and its workers take over from those of `old`, which `kill` makes strays.

    The strays go on serving, and the launcher takes the listening sockets from them. Once the
    successors serve, the watchdog lets the strays announce their end, finish, and go. Without a
    master there are none: then `kill` only lets a new one start.

    Raises:
        StartError: no new master serves within `BOOT_S`, or a stray does not end.
    """
    workers = process.children(old.pid) if old else []
    wanted = generation_of(home.nginx_conf.read_text())
    kill()

    def successor() -> Process | None:
        found = record.leader(home, "nginx")
        if found is None or found == old:
            return None
        return found if _served_by(home, wanted, process.children(found.pid)) else None

    new = wait_until(successor, BOOT_S)
    if new is None:
        raise StartError(
            f"no new nginx serves within {BOOT_S} s; {_alive(workers)} of {len(workers)} old "
            "workers serve on without a master. It printed:",
            *tail(home.log / "nginx.log"),
            "nginx.error.log ends:",
            *tail(home.nginx_log),
        )
    patience = proxy.closing_s + proxy.grace_s + STOP_MARGIN_S
    if not wait_until(lambda: _alive(workers) == 0, patience):
        raise StartError(
            f"the new nginx serves, but {_alive(workers)} workers of the old one have not ended "
            f"within {patience:g} s: does the program `watch` run?"
        )
    return new


@contextmanager
def announced(home: Home, workers: Sequence[Process], proxy: ProxySection) -> Iterator[None]:
    """Inside this the workers have been telling their clients to leave for `closing_s`."""
    if proxy.balancer == "nginx" or not proxy.closing_s:
        yield
        return
    home.closing.mkdir(mode=0o700, exist_ok=True)
    markers = [home.closing / str(one.pid) for one in workers]
    try:
        for marker in markers:
            marker.touch()
        pause(proxy.closing_s)
        yield
    finally:
        for marker in markers:
            marker.unlink(missing_ok=True)


def _served_by(home: Home, generation: str, workers: Sequence[Process]) -> bool:
    """Whether one of these workers answers, with this configuration.

    The socket is the old workers' too, so now and then one of those answers instead.
    """
    connection = UnixConnection(home.internal_socket, timeout_s=2)
    try:
        connection.request("GET", "/generation")
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    who = answer.headers.get("X-Boot", "")
    return text == generation and who in {str(one.pid) for one in workers}


def _alive(workers: Sequence[Process]) -> int:
    return sum(map(process.alive, workers))
