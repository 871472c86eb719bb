"""Topology -> supervisord.conf: a program for nginx, for each instance, and for the watchdog."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bulkhead.render.files import File
from bulkhead.render.nginx import descriptors
from bulkhead.render.paths import Home
from bulkhead.render.templates import (
    environment,
    supervisor_command,
    supervisor_environment,
    supervisor_percent,
)
from bulkhead.topology.model import Instance, ServiceSection, Topology

# The programs that are no instances.
NGINX, WATCH = "nginx", "watch"

# How much longer than a program's own grace time supervisord waits before SIGKILL.
STOP_MARGIN_S = 5
# The watchdog has nothing to finish.
WATCH_GRACE_S = 1
# With a watchdog, whoever dies before this is left to supervisord's growing pauses: it cannot boot.
BOOTED_S = 10
# With one, the workers of a dead gunicorn master serve until another serves; for so long at most,
# should none come. Longer than the pauses of a master that cannot boot at its first tries.
STRAY_S = 60

COMMON = "\n".join(
    (
        "umask=077",
        "; Rows, logs and the ledger belong to this user alone.",
        "autorestart=true",
        "; Whatever the exit status: a drain that was asked for from outside ends with 0 too.",
        "startretries=1000000",
        "; Never FATAL for ever. The pause between tries grows by a second each time.",
        "redirect_stderr=true",
        "stdout_logfile_maxbytes=10MB",
        "stdout_logfile_backups=3",
    )
)


@dataclass(frozen=True)
class Program:
    """One [program:x] section of an instance."""

    name: str
    kind: str
    command: str
    environment: str
    start_s: int
    stop_s: int


def render_supervisor(
    topology: Topology, nginx: Path, interpreter: Path, user: str | None
) -> list[File]:
    """supervisord.conf. `nginx` and `interpreter` are the programs that the stack runs."""
    home = Home(topology.home)
    template = environment(topology.root / "supervisor").get_template("supervisord.conf.j2")
    text = template.render(
        source=topology.source,
        name=topology.name,
        user=user,
        nofile=descriptors(topology),
        root=supervisor_percent(str(topology.root)),
        run=supervisor_percent(str(home.run)),
        log=supervisor_percent(str(home.log)),
        watch=topology.file.stack.watch,
        has_proxy=topology.has_proxy,
        watch_command=launched(
            topology, interpreter, WATCH, [interpreter, "-m", "bulkhead.watch", home.path]
        ),
        watch_stop_s=stop_s(WATCH_GRACE_S),
        nginx_command=launched(
            topology, interpreter, NGINX, [nginx, "-p", home.path, "-c", home.nginx_conf]
        ),
        nginx_stop_s=stop_s(topology.proxy.grace_s),
        common=COMMON,
        instances=[_program(topology, home, one, interpreter) for one in topology.instances()],
    )
    return [File(home.supervisord_conf, text)]


def stop_s(grace_s: float) -> int:
    """How long supervisord waits for a program that it has told to stop; whole seconds."""
    return round(grace_s) + STOP_MARGIN_S


def launched(
    topology: Topology, interpreter: Path, name: str, command: Sequence[str | Path]
) -> str:
    """A program's command, by way of supervisor/launch: it notes who leads it, and adopts."""
    launch = topology.root / "supervisor" / "launch"
    run = Home(topology.home).run
    return supervisor_command(["/bin/sh", launch, run, name, interpreter, *command])


def _program(topology: Topology, home: Home, one: Instance, interpreter: Path) -> Program:
    service = topology.services[one.service]
    variables = {
        "BULKHEAD_SERVICE": one.service,
        "BULKHEAD_INSTANCE": one.name,
        "BULKHEAD_ADDRESS": one.address,
        "BULKHEAD_PROXY_URL": topology.url,
        "BULKHEAD_ROWS": str(home.service_rows) if topology.file.stack.rows else "",
        "BULKHEAD_GRACE_S": f"{service.grace_s:g}",
        "BULKHEAD_MAX_BODY_KB": str(topology.proxy.max_body_kb),
        "BULKHEAD_LEDGER_URL": topology.file.stack.ledger_url or f"sqlite:///{home.ledger}",
        "BULKHEAD_SECRET_FILE": str(_secret(topology)),
        "BULKHEAD_WORKERS": str(service.workers),
        "BULKHEAD_BOOTS": str(home.boots),
        "BULKHEAD_OUT": str(home.out / one.name),
    }
    if topology.file.stack.ledger_password_file:
        password = topology.root / topology.file.stack.ledger_password_file
        variables["BULKHEAD_LEDGER_PASSWORD_FILE"] = str(password)
    if topology.file.stack.admin:
        variables["BULKHEAD_ADMIN_DIR"] = str(home.admin)
    watch = topology.file.stack.watch
    if watch:
        variables |= {"NOTIFY_SOCKET": str(home.notify_socket), "BULKHEAD_STRAY_S": str(STRAY_S)}
    if watch and service.hang_s:
        variables["WATCHDOG_USEC"] = str(round(service.hang_s * 1_000_000))
    command = _command(service, one.service, topology.root, interpreter)
    return Program(
        name=one.name,
        kind=service.kind,
        command=launched(topology, interpreter, one.name, command),
        environment=supervisor_environment(variables | service.env),
        start_s=min(math.ceil(service.boot_s), BOOTED_S) if watch else 1,
        stop_s=stop_s(service.grace_s),
    )


def _secret(topology: Topology) -> Path:
    """The file of the session key: this home's own, or one that several hosts share."""
    given = topology.file.stack.session_key_file
    return topology.root / given if given else Home(topology.home).secret


def _command(service: ServiceSection, name: str, root: Path, interpreter: Path) -> list[str | Path]:
    """What one instance runs. gunicorn goes through -m: a script's shebang has no spaces."""
    if service.kind == "tornado":
        return [interpreter, "-m", service.app or f"services.{name}"]
    app = service.app or f"services.{name}.wsgi:app"
    package = app.partition(":")[0].rpartition(".")[0]
    conf = root.joinpath(*package.split("."), "gunicorn.conf.py")
    return [interpreter, "-m", "gunicorn", "-c", conf, app]
