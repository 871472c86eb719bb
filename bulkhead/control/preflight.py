"""What is looked at before anything starts: ports, limits, keys, folders.

All complaints come at once.
"""

import errno
import resource
import secrets
import socket
from pathlib import Path

import psutil

from bulkhead.control.ports import Listener, blocking, listeners
from bulkhead.errors import StateError
from bulkhead.render.files import File, write_all
from bulkhead.render.nginx import descriptors
from bulkhead.render.paths import Home
from bulkhead.topology.model import Topology

KEY_CHARACTERS = 32  # at least, as the watchdog has it (watch/hosts.py)


def check(topology: Topology, own: list[int]) -> None:
    """Refuse to start into a wall. Ports that the pids `own` hold will be free by then.

    Raises:
        StateError: a port is taken, the system allows too few open files, or the watchdog could
            not speak with other hosts.
    """
    others = [one for one in listeners() if one.pid not in own]
    complaints = [
        *_ports_taken(topology, others),
        *_too_few_files(topology),
        *_no_key(topology),
        *_deaf(topology, own),
    ]
    if complaints:
        raise StateError(*complaints)


def make_folders(home: Home) -> None:
    """Every folder of a home that a stack writes into."""
    parts = (home.etc, home.run, home.log, home.rows, home.data, home.tmp)
    for folder in (home.path, *parts):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Whoever made it: nginx lets everybody write to its internal socket who can reach it.
    home.run.chmod(0o700)


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


def _no_key(topology: Topology) -> list[str]:
    """Without it a watchdog ends as soon as it starts, and says so in its log alone."""
    given = topology.hosts.key_file
    if not given:
        return []
    try:
        characters = len((topology.root / given).read_bytes().strip())
    except OSError as error:
        wrong = f"cannot be read: {error.strerror}; make one, the same on all hosts"
    else:
        wrong = f"holds {characters} characters; a key has {KEY_CHARACTERS} or more"
        if characters >= KEY_CHARACTERS:
            return []
    return [f"{topology.source}: hosts.key_file = {given}: {wrong} (openssl rand -hex 32)"]


def _deaf(topology: Topology, own: list[int]) -> list[str]:
    """Whether the proxy's watchdog could not hear other hosts: nginx would know no instance."""
    hear = topology.hosts.hear
    if not hear:
        return []
    host, _, port = hear.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((host, int(port)))
        except OSError as error:
            wrong = f"cannot be bound: {error.strerror}; it must be an address of this host"
            if error.errno == errno.EADDRINUSE:
                owner = blocking(host, int(port), _hearers(own))
                if owner is None:
                    return []
                wrong = f"{owner.describe()} holds it; stop that, or choose another port"
        else:
            return []
    return [f"{topology.source}: hosts.hear = {hear}: {wrong}"]


def _hearers(own: list[int]) -> list[Listener]:
    """Every UDP socket of others on this host."""
    return [
        Listener(one.laddr.ip, one.laddr.port, one.pid)
        for one in psutil.net_connections("udp")
        if one.laddr and one.pid not in own
    ]
