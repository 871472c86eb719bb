"""What is looked at before anything starts: ports, limits, folders. All complaints come at once."""

import resource
import secrets
from pathlib import Path

from bulkhead.control.ports import Listener, blocking, listeners
from bulkhead.errors import StateError
from bulkhead.render.files import File, write_all
from bulkhead.render.nginx import descriptors
from bulkhead.render.paths import Home
from bulkhead.topology.model import Topology


def check(topology: Topology, own: list[int]) -> None:
    """Refuse to start into a wall. Ports that the pids `own` hold will be free by then.

    Raises:
        StateError: a port is taken, or the system allows too few open files.
    """
    others = [one for one in listeners() if one.pid not in own]
    complaints = _ports_taken(topology, others) + _too_few_files(topology)
    if complaints:
        raise StateError(*complaints)


def make_folders(home: Home) -> None:
    """Every folder of a home that a stack writes into."""
    parts = (home.etc, home.run, home.log, home.rows, home.data, home.tmp)
    for folder in (home.path, *parts):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def prepare(home: Home) -> None:
    """Make the home folder ready for a start: session key, empty rows."""
    make_folders(home)  # a stop just before, by `restart`, may have removed some
    if not home.secret.exists():
        write_all([File(home.secret, secrets.token_hex(32) + "\n")])
    rows = (home.proxy_rows, home.service_rows, home.watch_rows)
    for path in (*rows, home.nginx_log, home.supervisord_log):
        _set_aside(path)


def _set_aside(path: Path) -> None:
    """Keep what the stack's last life wrote as `.old`, so that no file grows for ever."""
    if path.exists():
        path.replace(path.with_name(path.name + ".old"))


def _ports_taken(topology: Topology, taken: list[Listener]) -> list[str]:
    wanted = []
    if topology.has_proxy:
        host, _, port = topology.proxy.listen.rpartition(":")
        wanted.append(("proxy.listen", "nginx", host, int(port)))
    wanted += [
        (f"services.{one.service}.port", one.name, one.host, one.port)
        for one in topology.instances()
    ]
    return [
        f"{topology.source}: {key}: {name} would listen on {host}:{port}, "
        f"which {owner.describe()} holds; stop that, or choose another port"
        for key, name, host, port in wanted
        if (owner := blocking(host, port, taken))
    ]


def _too_few_files(topology: Topology) -> list[str]:
    needed = descriptors(topology)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard >= needed:
        return []
    return [
        f"{topology.source}: proxy.connections = {topology.proxy.connections}: needs {needed} open "
        f"files, this user may have {hard} (ulimit -Hn); lower it to {(hard - 256) // 2}"
    ]
