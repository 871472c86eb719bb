"""The rules of a topology that span more than one field. Each is one function that yields problems.

A problem is (path, value, what is allowed), so that every message has the same form.
"""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

from bulkhead.topology.model import ServiceSection, Topology
from bulkhead.topology.problems import Problem

Check = Callable[[Topology], Iterator[Problem]]

# sockaddr_un.sun_path holds 108 bytes with the final NUL (unix(7)).
UNIX_PATH_MAX = 107
# The largest pid that Linux gives (proc(5), pid_max).
PID_MAX = 4194304

# Paths that the public listener answers with 404 (nginx/public.conf.j2).
INTERNAL = ("healthz", "readyz", "metrics", "admin")
# supervisord's other program, and the words of `status` for what is no service.
RESERVED = ("nginx", "supervisord", "supervisor", "proxy")


def ports_are_unique(topology: Topology) -> Iterator[Problem]:
    """No two listeners of one stack may share a port (a host is not enough: 0.0.0.0 takes all)."""
    listen = topology.proxy.listen
    taken = {int(listen.rpartition(":")[2]): f"proxy.listen = {listen}"}
    for one in topology.instances():
        if one.port > 65535:
            wrong = "; ports end at 65535"
        elif one.port in taken:
            wrong = f", which {taken[one.port]} already has; every listener needs a port of its own"
        else:
            taken[one.port] = one.name
            continue
        first = topology.services[one.service].port
        yield f"services.{one.service}.port", first, f"{one.name} would listen on {one.port}{wrong}"


def services_fit(topology: Topology) -> Iterator[Problem]:
    """Rules for the settings of one service together."""
    for name, service in topology.services.items():
        for key, value, allowed in (*_balancing(service), *_process(name, service, topology)):
            yield f"services.{name}{key}", value, allowed


def _balancing(service: ServiceSection) -> Iterator[Problem]:
    """How nginx chooses, and what it sends."""
    if service.weights is not None and len(service.weights) != service.instances:
        allowed = f"must have one weight for each of the {service.instances} instances"
        yield ".weights", service.weights, allowed
    if service.policy == "hash" and service.hash_key is None:
        yield ".hash_key", None, 'is missing; policy "hash" needs one, such as "$request_uri"'
    if service.policy != "hash" and service.hash_key is not None:
        yield ".hash_key", service.hash_key, f'only policy "hash" reads it, not "{service.policy}"'
    for route in service.routes:
        parts = route.strip("/").split("/")
        if {".", ".."} & set(parts):  # nginx compares normalised paths
            yield ".routes", route, 'can never match: nginx resolves "." and ".." before it looks'
        elif parts[0] in INTERNAL:
            yield ".routes", route, f"is kept for the internal listener ({', '.join(INTERNAL)})"


def _process(name: str, service: ServiceSection, topology: Topology) -> Iterator[Problem]:
    """Where it runs, under which name, with which variables, folders and processes."""
    if name in RESERVED:  # a service's name is that of a group of supervisord's programs, too
        yield "", name, f"is taken; reserved names: {', '.join(RESERVED)}"
    if (loopback := _is_loopback(service.host)) is None:  # the pattern lets 127.0.0.999 pass
        yield ".host", service.host, "is not an IP address"
    elif not loopback and topology.hosts.role != "application":
        allowed = "is not a loopback address; only a proxy on another host needs one "
        yield ".host", service.host, allowed + '(hosts.role = "application")'
    for variable, value in service.env.items():
        if variable.startswith("BULKHEAD_"):
            yield f".env.{variable}", value, "BULKHEAD_ variables come from the other settings"
    if service.static is not None and not (topology.root / service.static).is_dir():
        yield ".static", service.static, "no such folder; it is relative to the topology's root"
    if service.kind == "tornado" and service.workers != 1:
        allowed = "a tornado instance is one process; raise `instances` instead"
        yield ".workers", service.workers, allowed


def _is_loopback(host: str) -> bool | None:
    """None when it is no IP address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return None


def routes_are_unique(topology: Topology) -> Iterator[Problem]:
    """Each route leads to exactly one service, and /static/ belongs to nginx."""
    owners: dict[str, str] = {}
    for name, service in topology.services.items():
        path = f"services.{name}.routes"
        for route in service.routes:
            if route in owners:
                yield path, route, f"services.{owners[route]}.routes has it too; give it to one"
            elif route == "/static/":
                yield path, route, "is served by nginx itself; choose another"
            owners.setdefault(route, name)
    if sum(service.static is not None for service in topology.services.values()) > 1:
        yield "services", list(topology.services), "only one service may have `static`"


# For each role of a host: required settings, and settings that it does not use.
HOST_KEYS = {
    "all": (),
    "proxy": ("hear", "key_file"),
    "application": ("name", "tell", "url", "key_file"),
}
# Settings that the application hosts of a stack must share.
SHARED = ("ledger_url", "session_key_file")


def hosts_find_each_other(topology: Topology) -> Iterator[Problem]:
    """An application host tells its proxies of its instances, and a proxy hears that."""
    hosts = topology.hosts
    for key in ("name", "hear", "tell", "url", "key_file"):
        value, used = getattr(hosts, key), key in HOST_KEYS[hosts.role]
        if bool(value) != used:
            word = "needed" if used else "not used"
            yield f"hosts.{key}", value, f'is {word} with hosts.role = "{hosts.role}"'
    for key in SHARED if hosts.role == "application" else ():
        if not getattr(topology.file.stack, key):
            needed = 'is needed with hosts.role = "application": the same on every application host'
            yield f"stack.{key}", "", needed
    if hosts.role != "all" and topology.proxy.balancer != "watched":
        yield "proxy.balancer", topology.proxy.balancer, 'must be "watched" with several hosts'


def listens_on_loopback(topology: Topology) -> Iterator[Problem]:
    """Nothing is reachable from another host unless someone said so."""
    listen = topology.proxy.listen
    if (loopback := _is_loopback(listen.rpartition(":")[0])) is None:
        yield "proxy.listen", listen, "is not an IP address and port"
    elif not loopback and not topology.proxy.allow_remote:
        remedy = "set proxy.allow_remote = true to listen for other hosts"
        yield "proxy.listen", listen, f"is not a loopback address; {remedy}"


def ports_exist(topology: Topology) -> Iterator[Problem]:
    """The pattern of an address lets port 99999 pass."""
    hosts = topology.hosts
    places = [("proxy.listen", topology.proxy.listen), ("hosts.hear", hosts.hear)]
    for path, place in [*places, *(("hosts.tell", one) for one in hosts.tell)]:
        if place and not 1 <= int(place.rpartition(":")[2]) <= 65535:
            yield path, place, "the port must be 1 to 65535"


def stack_fits(topology: Topology) -> Iterator[Problem]:
    """The balancer knows only what the watchdog tells it; a password needs a server."""
    stack = topology.file.stack
    if topology.proxy.balancer == "watched" and not stack.watch:
        yield "stack.watch", False, 'proxy.balancer = "watched" needs the watchdog; use "nginx"'
    if (file := stack.ledger_password_file) and not stack.ledger_url:
        yield "stack.ledger_password_file", file, "is for a server; set stack.ledger_url, too"


def home_is_usable(topology: Topology) -> Iterator[Problem]:
    """Unix sockets have short names, and paths go into two configuration languages."""
    admin = topology.home / "run" / "admin"
    names = [one.name for one in topology.instances()] if topology.file.stack.admin else []
    sockets = [admin / f"{name}.{PID_MAX}.sock" for name in names]
    yield from places_are_usable(topology.home, topology.root, sockets)


def places_are_usable(home: Path, root: Path, sockets: Sequence[Path] = ()) -> Iterator[Problem]:
    """Problems of a home folder and of its `sockets`."""
    # supervisord binds name.pid first; the longest pid is what counts.
    every = [*sockets, home / "run" / f"supervisor.sock.{PID_MAX}"]
    longest = max(every, key=lambda path: len(bytes(path)))
    if (size := len(bytes(longest))) > UNIX_PATH_MAX:
        allowed = f"too long: {longest} would have {size} bytes, {UNIX_PATH_MAX} fit"
        yield "stack.home", str(home), allowed
    for path, what in ((home, "stack.home"), (root, "the checkout's path")):
        if bad := set(str(path)) & set("\"'\\;{}$%\n\r\t#*?"):
            yield what, str(path), f"must not contain {' '.join(map(repr, sorted(bad)))}"
    if home in (Path("/"), root):
        yield "stack.home", str(home), "must be a folder of its own"


CHECKS: tuple[Check, ...] = (
    ports_are_unique,
    services_fit,
    routes_are_unique,
    listens_on_loopback,
    hosts_find_each_other,
    stack_fits,
    ports_exist,
    home_is_usable,
)
