"""Topology -> supervisord.conf: one program per instance, one group per service."""

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

# How much longer than a program's own grace time supervisord waits before SIGKILL.
STOP_MARGIN_S = 5

# A killed nginx leaves its unix socket behind, and no nginx can bind to what is left. The script
# is constant: the paths are its arguments.
REMOVE_FIRST = ("/bin/sh", "-c", 'rm -f "$0" && exec "$@"')

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
    """One [program:x] section."""

    name: str
    kind: str
    command: str
    environment: str
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
        nginx_command=supervisor_command(
            [*REMOVE_FIRST, home.internal_socket, nginx, "-p", home.path, "-c", home.nginx_conf]
        ),
        nginx_stop_s=round(topology.proxy.grace_s) + STOP_MARGIN_S,
        common=COMMON,
        instances=[_program(topology, home, one, interpreter) for one in topology.instances()],
        groups=[
            {"service": name, "programs": ",".join(one.name for one in topology.instances(name))}
            for name in topology.services
        ],
    )
    return [File(home.supervisord_conf, text)]


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
        "BULKHEAD_LEDGER_URL": f"sqlite:///{home.ledger}",
        "BULKHEAD_SECRET_FILE": str(home.secret),
        "BULKHEAD_WORKERS": str(service.workers),
    }
    if topology.file.stack.admin:
        variables["BULKHEAD_ADMIN_DIR"] = str(home.admin)
    return Program(
        name=one.name,
        kind=service.kind,
        command=supervisor_command(_command(service, one.service, topology.root, interpreter)),
        environment=supervisor_environment(variables | service.env),
        stop_s=round(service.grace_s) + STOP_MARGIN_S,
    )


def _command(service: ServiceSection, name: str, root: Path, interpreter: Path) -> list[str | Path]:
    """What one instance runs. gunicorn goes through -m: a script's shebang has no spaces."""
    if service.kind == "tornado":
        return [interpreter, "-m", service.app or f"services.{name}"]
    app = service.app or f"services.{name}.wsgi:app"
    package = app.partition(":")[0].rpartition(".")[0]
    conf = root.joinpath(*package.split("."), "gunicorn.conf.py")
    return [interpreter, "-m", "gunicorn", "-c", conf, app]
