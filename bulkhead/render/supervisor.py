"""Topology -> supervisord.conf and watch.json: nginx, each instance, and the watchdog.

watch.json says what the watchdog watches, and what a launcher has to know. The watchdog reads it
again whenever it changes. Times are seconds.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from bulkhead.render.files import File, environment, supervisor_command
from bulkhead.render.nginx import descriptors
from bulkhead.render.paths import Home
from bulkhead.topology.model import Instance, ServiceSection, Topology

# The programs that are no instances.
NGINX, WATCH = "nginx", "watch"

# How much longer than a program's own grace time supervisord waits before SIGKILL.
STOP_MARGIN_S = 5
# The watchdog has nothing to finish.
WATCH_GRACE_S = 1
# A program that dies earlier and was not ready gets growing pauses (supervisor/wakeup.py).
BOOTED_S = 10
# With one, the workers of a dead gunicorn master serve until another serves; for so long at most,
# should none come. Longer than the pauses of a master that cannot boot at its first tries.
ORPHAN_S = 60


def render_supervisor(
    topology: Topology, nginx: Path, interpreter: Path, user: str | None
) -> list[File]:
    """supervisord.conf. `nginx` and `interpreter` are the programs that the stack runs."""
    home = Home(topology.home)
    commands: dict[str, Sequence[str | Path]] = {
        WATCH: [interpreter, "-m", "bulkhead.watchdog", home.path],
        NGINX: [nginx, "-p", home.path, "-c", home.nginx_conf],
    }
    for one in topology.instances():
        commands[one.name] = _command(topology, one.service, interpreter)
    # By way of supervisor/launch: it notes who leads the program, and adopts.
    launch: list[str | Path] = ["/bin/sh", topology.root / "supervisor" / "launch", home.run]
    templates = environment(topology.root / "supervisor")
    templates.filters["stop_s"] = stop_s
    text = templates.get_template("supervisord.conf.j2").render(
        topology=topology,
        home=home,
        user=user,
        nofile=descriptors(topology),
        watch_grace_s=WATCH_GRACE_S,
        commands={
            name: supervisor_command([*launch, name, interpreter, *command])
            for name, command in commands.items()
        },
        variables=_variables,
        start_s=_start_s,
    )
    return [File(home.supervisord_conf, text)]


def stop_s(grace_s: float) -> int:
    """How long supervisord waits for a program that it has told to stop; whole seconds."""
    return round(grace_s) + STOP_MARGIN_S


def _start_s(topology: Topology, service: ServiceSection) -> int:
    return min(math.ceil(service.boot_s), BOOTED_S) if topology.file.stack.watch else 1


def _variables(topology: Topology, one: Instance) -> str:
    """The environment of an instance, `KEY="value",...`."""
    home, stack, service = Home(topology.home), topology.file.stack, topology.services[one.service]
    variables = {
        "BULKHEAD_SERVICE": one.service,
        "BULKHEAD_INSTANCE": one.name,
        "BULKHEAD_ADDRESS": one.address,
        "BULKHEAD_PROXY_URL": topology.url,
        "BULKHEAD_ROWS": str(home.service_rows) if stack.rows else "",
        "BULKHEAD_GRACE_S": f"{service.grace_s:g}",
        "BULKHEAD_MAX_BODY_KB": str(topology.proxy.max_body_kb),
        "BULKHEAD_LEDGER_URL": stack.ledger_url or f"sqlite:///{home.ledger}",
        # The key of this home alone, or one that several hosts share.
        "BULKHEAD_SECRET_FILE": str(topology.root / (stack.session_key_file or home.secret)),
        "BULKHEAD_WORKERS": str(service.workers),
        "BULKHEAD_BOOTS": str(home.boots),
        "BULKHEAD_DRAINED": str(home.drained / one.name),
    }
    if stack.ledger_password_file:
        password = topology.root / stack.ledger_password_file
        variables["BULKHEAD_LEDGER_PASSWORD_FILE"] = str(password)
    variables["BULKHEAD_WORK_MS"], variables["BULKHEAD_WORK_CPU_MS"] = "0", "0"
    if stack.admin:
        variables["BULKHEAD_ADMIN_DIR"] = str(home.admin)
        # A public request must not be taken for a hang, nor outlast the proxy's patience.
        variables["BULKHEAD_WORK_MS"] = str(min(60_000, int(service.timeout_s * 800)))
        variables["BULKHEAD_WORK_CPU_MS"] = str(min(10_000, int(service.hang_s * 800) or 10_000))
    if stack.watch:
        variables |= {"NOTIFY_SOCKET": str(home.notify_socket), "BULKHEAD_ORPHAN_S": str(ORPHAN_S)}
    if stack.watch and service.hang_s:
        variables["WATCHDOG_USEC"] = str(round(service.hang_s * 1_000_000))
    # supervisord's `environment=` has quotes but no escapes; the topology refuses quotes.
    return ",".join(f'{key}="{value}"' for key, value in (variables | service.env).items())


def _command(topology: Topology, name: str, interpreter: Path) -> list[str | Path]:
    """The command of an instance. gunicorn goes through -m: a script's shebang has no spaces."""
    service = topology.services[name]
    if service.kind == "tornado":
        return [interpreter, "-m", service.app or f"services.{name}"]
    app = service.app or f"services.{name}.wsgi:app"
    package = app.partition(":")[0].rpartition(".")[0]
    conf = topology.root.joinpath(*package.split("."), "gunicorn.conf.py")
    return [interpreter, "-m", "gunicorn", "-c", conf, app]


def supervisord_command(home: Home, interpreter: Path) -> list[str]:
    """The command of a supervisord, run in the checkout; -s: it prints only what is not logged.

    PYTHONPATH is where its plugins are: `supervisor` in the checkout is no package, and the
    package of that name is supervisord.
    """
    return [
        *("/usr/bin/env", "PYTHONPATH=supervisor"),
        *(str(interpreter), "-m", "supervisor.supervisord"),
        *("-s", "-c", str(home.supervisord_conf)),
    ]


def render_watch(topology: Topology, interpreter: Path) -> File:
    """watch.json. `interpreter` is the Python that the stack runs."""
    home, proxy, hosts = Home(topology.home), topology.proxy, topology.hosts
    stack = topology.file.stack
    programs = [_program(WATCH, WATCH, WATCH_GRACE_S)] if stack.watch else []
    if topology.has_proxy:
        programs.append(_program(NGINX, NGINX, proxy.grace_s))
    for one in topology.instances():
        service = topology.services[one.service]
        own = {"service": one.service, "address": one.address, "weight": one.weight}
        programs.append(
            _program(one.name, service.kind, service.grace_s, **own, hang_s=service.hang_s)
        )
    value = {
        "root": str(topology.root),
        "python": str(interpreter),
        "supervisord": supervisord_command(home, interpreter),
        "peers": topology.has_proxy and proxy.balancer == "watched",
        "public": proxy.listen.replace("0.0.0.0:", "127.0.0.1:") if topology.has_proxy else "",
        "host": hosts.name,
        "hear": hosts.hear,
        "tell": hosts.tell,
        "key_file": str(topology.root / hosts.key_file) if hosts.key_file else "",
        "closing_s": proxy.closing_s if proxy.balancer == "watched" else 0,
        "proxy_grace_s": proxy.grace_s,
        "rows_max_mb": stack.rows_max_mb,
        "rows_keep": stack.rows_keep,
        "programs": programs,
    }
    return File(home.watch_conf, json.dumps(value, indent=1) + "\n")


def _program(name: str, kind: str, grace_s: float, **instance: object) -> dict[str, object]:
    none = {"service": "", "address": "", "weight": 1, "hang_s": 0}
    return {"name": name, "kind": kind, **none, **instance, "grace_s": grace_s}
