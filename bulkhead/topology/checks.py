"""The rules of a topology that span more than one field. Each is one function that yields problems.

A problem is (path, value, what is allowed), so that every message has the same form.
"""

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

from bulkhead.topology.model import Topology
from bulkhead.topology.problems import Problem

Check = Callable[[Topology], Iterator[Problem]]

# sockaddr_un.sun_path holds 108 octets with the final NUL (unix(7)).
UNIX_PATH_MAX = 107
# The largest pid that Linux gives (proc(5), pid_max).
PID_MAX = 4194304

# What nginx answers 404 to at the public listener (nginx/public.conf.j2).
INTERNAL = ("healthz", "readyz", "metrics", "admin")
# supervisord's other program, and the words of `status` for what is no service.
RESERVED = ("nginx", "supervisord", "supervisor", "proxy")


def ports_are_unique(topology: Topology) -> Iterator[Problem]:
    """No two listeners of one stack may share a port (a host is not enough: 0.0.0.0 takes all)."""
    listen = topology.proxy.listen
    taken = {int(listen.rpartition(":")[2]): f"proxy.listen = {listen}"}
    for one in topology.instances():
        path = f"services.{one.service}.port"
        if one.port > 65535:
            yield (
                path,
                topology.services[one.service].port,
                (f"{one.name} would listen on {one.port}; ports end at 65535"),
            )
        elif one.port in taken:
            yield (
                path,
                topology.services[one.service].port,
                (
                    f"{one.name} would listen on {one.port}, which {taken[one.port]} already has; "
                    "every listener needs a port of its own"
                ),
            )
        else:
            taken[one.port] = one.name


def weights_fit(topology: Topology) -> Iterator[Problem]:
    """Weights are given for all instances or for none."""
    for name, service in topology.services.items():
        if service.weights is None:
            continue
        path = f"services.{name}.weights"
        if len(service.weights) != service.instances:
            yield (
                path,
                service.weights,
                (f"must have one weight for each of the {service.instances} instances"),
            )


def hash_has_a_key(topology: Topology) -> Iterator[Problem]:
    """`hash` needs to know what to hash; the others would ignore it."""
    for name, service in topology.services.items():
        path = f"services.{name}.hash_key"
        if service.policy == "hash" and service.hash_key is None:
            yield path, None, 'is missing; policy "hash" needs one, such as "$request_uri"'
        if service.policy != "hash" and service.hash_key is not None:
            yield path, service.hash_key, f'only policy "hash" reads it, not "{service.policy}"'


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


def routes_can_match(topology: Topology) -> Iterator[Problem]:
    """nginx compares normalised paths, and keeps the internal endpoints to itself."""
    for name, service in topology.services.items():
        for route in service.routes:
            parts = route.strip("/").split("/")
            path = f"services.{name}.routes"
            if {".", ".."} & set(parts):
                yield path, route, 'can never match: nginx resolves "." and ".." before it looks'
            elif parts[0] in INTERNAL:
                yield path, route, f"is kept for the internal listener ({', '.join(INTERNAL)})"


def names_are_free(topology: Topology) -> Iterator[Problem]:
    """A service's name is also the name of a group of supervisord's programs."""
    for name in topology.services:
        if name in RESERVED:
            yield f"services.{name}", name, f"is taken; reserved names: {', '.join(RESERVED)}"


def hosts_are_addresses(topology: Topology) -> Iterator[Problem]:
    """The pattern of a host lets 127.0.0.999 pass; and only a proxy elsewhere needs another."""
    for name, service in topology.services.items():
        path = f"services.{name}.host"
        try:
            address = ip_address(service.host)
        except ValueError:
            yield path, service.host, "is not an IP address"
            continue
        if not address.is_loopback and topology.hosts.role != "application":
            yield (
                path,
                service.host,
                "is not a loopback address; only a proxy on another host needs one "
                '(hosts.role = "application")',
            )


# What each role of a host has to be told, and what it does not use.
HOST_KEYS = {
    "all": (),
    "proxy": ("hear", "key_file"),
    "application": ("name", "tell", "url", "key_file"),
}
# What the application hosts of a stack must share: each would have one of its own otherwise.
SHARED = ("ledger_url", "session_key_file")


def hosts_find_each_other(topology: Topology) -> Iterator[Problem]:
    """An application host tells its proxies of its instances, and a proxy hears that."""
    hosts = topology.hosts
    for key in ("name", "hear", "tell", "url", "key_file"):
        value, needed = getattr(hosts, key), key in HOST_KEYS[hosts.role]
        if needed and not value:
            yield f"hosts.{key}", value, f'is needed with hosts.role = "{hosts.role}"'
        if value and not needed:
            yield f"hosts.{key}", value, f'is not used with hosts.role = "{hosts.role}"'
    for key in SHARED if hosts.role == "application" else ():
        if not (value := getattr(topology.file.stack, key)):
            yield (
                f"stack.{key}",
                value,
                f'is needed with hosts.role = "{hosts.role}": the same on every application host',
            )
    if hosts.role != "all" and topology.proxy.balancer != "watched":
        yield "proxy.balancer", topology.proxy.balancer, 'must be "watched" with several hosts'
    places = [("tell", one) for one in hosts.tell] + [("hear", hosts.hear)] * bool(hosts.hear)
    for key, place in places:
        if not 1 <= int(place.rpartition(":")[2]) <= 65535:
            yield f"hosts.{key}", place, "the port must be 1 to 65535"


def servers_have_passwords(topology: Topology) -> Iterator[Problem]:
    """A file without a server is a mistake in the other key."""
    stack = topology.file.stack
    if stack.ledger_password_file and not stack.ledger_url:
        yield (
            "stack.ledger_password_file",
            stack.ledger_password_file,
            "is for a server; set stack.ledger_url, too",
        )


def environment_is_ours(topology: Topology) -> Iterator[Problem]:
    """What the renderer sets for an instance has its own place in the topology."""
    for name, service in topology.services.items():
        for variable in service.env:
            if variable.startswith("BULKHEAD_"):
                yield (
                    f"services.{name}.env.{variable}",
                    service.env[variable],
                    ("BULKHEAD_ variables come from the other settings"),
                )


def static_exists(topology: Topology) -> Iterator[Problem]:
    """A folder of static files must be there, or every one of them is a 404."""
    for name, service in topology.services.items():
        if service.static is not None and not (topology.root / service.static).is_dir():
            yield (
                f"services.{name}.static",
                service.static,
                ("no such folder; it is relative to the topology's root"),
            )


def listens_on_loopback(topology: Topology) -> Iterator[Problem]:
    """Nothing is reachable from another host unless someone said so."""
    host, _, port = topology.proxy.listen.rpartition(":")
    if not 1 <= int(port) <= 65535:
        yield "proxy.listen", topology.proxy.listen, "the port must be 1 to 65535"
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        yield "proxy.listen", topology.proxy.listen, "is not an IP address and port"
        return
    if not address.is_loopback and not topology.proxy.allow_remote:
        yield (
            "proxy.listen",
            topology.proxy.listen,
            ("is not a loopback address; set proxy.allow_remote = true to listen for other hosts"),
        )


def workers_are_gunicorns(topology: Topology) -> Iterator[Problem]:
    """A Tornado instance is one process; more of them are instances, not workers."""
    for name, service in topology.services.items():
        if service.kind == "tornado" and service.workers != 1:
            yield (
                f"services.{name}.workers",
                service.workers,
                ("a tornado instance is one process; raise `instances` instead"),
            )


def balancer_is_fed(topology: Topology) -> Iterator[Problem]:
    """The watched balancer knows only what the watchdog tells it."""
    if topology.proxy.balancer == "watched" and not topology.file.stack.watch:
        yield "stack.watch", False, 'proxy.balancer = "watched" needs the watchdog; use "nginx"'


def home_is_usable(topology: Topology) -> Iterator[Problem]:
    """Unix sockets have short names, and paths go into two configuration languages."""
    longest = max(_socket_paths(topology), key=lambda path: len(bytes(path)))
    if len(bytes(longest)) > UNIX_PATH_MAX:
        yield (
            "stack.home",
            str(topology.home),
            (f"too long: {longest} would have {len(bytes(longest))} octets, {UNIX_PATH_MAX} fit"),
        )
    for path, what in ((topology.home, "stack.home"), (topology.root, "the checkout's path")):
        if bad := set(str(path)) & set("\"'\\;{}$%\n\r\t#*?"):
            yield what, str(path), f"must not contain {' '.join(map(repr, sorted(bad)))}"
    if topology.home in (Path("/"), topology.root):
        yield "stack.home", str(topology.home), "must be a folder of its own"


def _socket_paths(topology: Topology) -> Iterator[Path]:
    """The sockets with the longest names, whatever pid is in them."""
    run = topology.home / "run"
    yield run / f"supervisor.sock.{PID_MAX}"  # supervisord binds name.pid first
    if topology.file.stack.admin:
        for one in topology.instances():
            yield run / "admin" / f"{one.name}.{PID_MAX}.sock"


CHECKS: tuple[Check, ...] = (
    ports_are_unique,
    weights_fit,
    hash_has_a_key,
    routes_are_unique,
    routes_can_match,
    names_are_free,
    hosts_are_addresses,
    environment_is_ours,
    static_exists,
    listens_on_loopback,
    workers_are_gunicorns,
    balancer_is_fed,
    hosts_find_each_other,
    servers_have_passwords,
    home_is_usable,
)
