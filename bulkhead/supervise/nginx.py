"""The nginx program: where it is, what it accepts, and how its workers hand over to new ones.

Workers that are told to end close idle connections at once, even one on which a request is just
arriving. So they announce it first: for `closing_s` each of their answers says `Connection: close`,
and a client that uses its connection in that time leaves by itself.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, SIGKILL

from bulkhead import http_probe, proc
from bulkhead.atomic import mark
from bulkhead.clock import now, pause, wait_until
from bulkhead.errors import ConfigError, MissingError, StartError, StateError
from bulkhead.interrupts import signals_deferred
from bulkhead.proc import Process
from bulkhead.render.files import File, nginx_quoted, write_all
from bulkhead.render.nginx import LUA_MODULES, MODULES, generation_of
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import NGINX, STOP_MARGIN_S
from bulkhead.supervise import record
from bulkhead.supervise.home import Say, lock
from bulkhead.supervise.record import Record
from bulkhead.supervise.status import tail
from bulkhead.topology.model import ProxySection

LISTEN = re.compile(r'^(\s*listen) (?!"?unix:)\S+', re.MULTILINE)
# Debian's nginx is in /usr/sbin, which is not on an ordinary user's PATH.
SEARCH = "/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin"
BOOT_S = 15  # a new master, with the sockets of the old one
RELOAD_S = 10


def find_nginx(program: str, path: str) -> Path:
    """`program` by its path, or its name in `path` and where packages put it; or MissingError."""
    if installed := shutil.which(program, path=f"{path}:{SEARCH}"):
        return Path(installed)
    raise MissingError(
        f"{program} is not installed: `make setup` installs nginx, "
        "or set proxy.program to the path of one"
    )


def find_modules(nginx: Path) -> Path | None:
    """The folder with its Lua module; None if that is compiled in, MissingError if it has none."""
    built = _run(nginx, "-V").stderr
    if re.search(r"--add-module=\S*(lua-nginx-module|ngx_lua|http-lua)", built):
        return None
    configured = re.search(r"--modules-path=(\S+)", built)
    folder = Path(configured[1]) if configured else MODULES
    if missing := [name for name in LUA_MODULES if not (folder / name).exists()]:
        raise MissingError(
            f"{nginx} has no Lua module ({folder / missing[0]} is not there): `make setup` "
            'installs libnginx-mod-http-lua, or set proxy.balancer = "nginx" to do without'
        )
    return folder


def version(nginx: Path) -> str:
    """The version of an nginx, such as `1.22.1`; MissingError if it cannot be run."""
    try:
        said = _run(nginx, "-v").stderr
    except OSError as error:
        raise MissingError(f"{nginx}: cannot be run: {error.strerror}") from error
    number = re.search(r"nginx/(\S+)", said)
    return number[1] if number else "of unknown version"


def test_configuration(nginx: Path, home: Path, conf: Path) -> None:
    """Let nginx itself judge a configuration (`nginx -t`); ConfigError has its own words."""
    done = _run(nginx, "-t", "-q", "-p", home, "-c", conf)
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines() if line.strip()]
        raise ConfigError(f"nginx refuses {conf}:", *complaints)


def test_draft(nginx: Path, home: Home, text: str) -> None:
    """Let nginx judge a text before it is put in place; ConfigError has nginx's own words."""
    trial = home.etc / "nginx.conf.test"
    # With no port: `nginx -t` listens for a moment, and would reset a request that comes then.
    place = nginx_quoted(f"unix:{home.run}/test.sock")
    write_all([File(trial, LISTEN.sub(lambda listen: f"{listen[1]} {place}", text))])
    try:
        test_configuration(nginx, home.path, trial)
    finally:
        trial.unlink()


@dataclass(frozen=True)
class Upgrade:
    """The nginx that led before and the one that leads now."""

    old_pid: int
    old_version: str
    new_pid: int
    new_version: str
    took_s: float  # until the last worker of the old one had ended


def upgrade(home: Home, say: Say) -> Upgrade:
    """Let the nginx that is on disk now take over from the one that runs, under load.

    The old master is killed: one that is told to end would close the listening sockets.
    StateError if the stack is not up, or has no nginx, no watchdog, or no way to hand over.
    ConfigError if the nginx on disk refuses the configuration; nothing has changed. StartError if
    the new one does not serve; the old workers still do.
    """
    with lock(home):
        running = record.require(home)
        topology = running.resolved()
        if not topology.has_proxy:
            raise StateError('this host has no nginx (hosts.role = "application")')
        if not topology.file.stack.watch:
            raise StateError(
                "stack.watch = false: nothing would end the old workers; `make restart` brings "
                "the new nginx, with a gap"
            )
        refuse_gap(running, topology.proxy)
        program = Path(running.nginx)
        test_configuration(program, home.path, home.nginx_conf)
        old = master(home, running)
        was, wanted = version(Path(f"/proc/{old.pid}/exe")), version(program)
        say(f"nginx {was} (pid {old.pid}) -> {wanted}: {program} accepts the configuration")
        start = now()
        with signals_deferred():  # half-way there is nothing to go back to
            new = replace_master(home, topology.proxy, old, lambda: proc.send(old, SIGKILL))
        took_s = now() - start
        return Upgrade(old.pid, was, new.pid, version(Path(f"/proc/{new.pid}/exe")), took_s)


def master(home: Home, running: Record) -> Process:
    """The process that leads nginx, and is of this stack; StateError if there is none."""
    process = record.leader(home, NGINX)
    if process is None or process not in running.members():
        raise StateError("nginx is not running now; see `make status` and `make logs`")
    return process


def refuse_gap(running: Record, proxy: ProxySection) -> None:
    """Raise StateError where a new master would refuse clients until the old workers have ended."""
    if proxy.balancer == "nginx" and not running.may_duplicate:
        raise StateError(
            'with proxy.balancer = "nginx" a new nginx gets the listening sockets by '
            "pidfd_getfd(2), which is not permitted to this stack (docs/supervision.md); "
            "`make restart` brings the new nginx, with a gap"
        )


def reconfigure(home: Home, running: Record, text: str, proxy: ProxySection) -> None:
    """Let new workers serve another configuration, and the old ones finish what they have.

    It returns when no old worker accepts connections any more.
    ConfigError if nginx refuses the text; the old configuration stays, on disk and in force.
    StateError if there is no nginx to tell. StartError if the old workers still take new
    connections after `RELOAD_S`.
    """
    workers = proc.children(master(home, running).pid)
    announce = proxy.balancer == "watched" and proxy.closing_s > 0
    home.closing.mkdir(mode=0o700, exist_ok=True)
    markers = [home.closing / str(worker.pid) for worker in workers if announce]
    wanted = generation_of(text)
    try:
        for marker in markers:
            mark(marker)
        pause(proxy.closing_s if announce else 0)
        leader = master(home, running)
        test_draft(Path(running.nginx), home, text)
        write_all([File(home.nginx_conf, text)])
        old = proc.children(leader.pid)
        proc.send(leader, SIGHUP)

        def taken_over() -> bool:
            # A worker that drains says so in its title.
            draining = ("shutting down" in proc.title(one) or not proc.alive(one) for one in old)
            return all(draining) and http_probe.generation(home.internal_socket) == wanted

        if not wait_until(taken_over, RELOAD_S):
            raise StartError(f"nginx did not take over the new configuration within {RELOAD_S} s")
    finally:
        for marker in markers:
            marker.unlink(missing_ok=True)


def replace_master(
    home: Home, proxy: ProxySection, old: Process | None, kill: Callable[[], object]
) -> Process:
    """Let a new master and its workers take over from those of `old`, which `kill` orphans.

    The orphaned workers go on serving, the launcher takes the listening sockets from them, and once
    the successors serve the watchdog ends them. Without an old master `kill` only starts a new one.
    StartError if no new master serves within `BOOT_S`, or an orphaned worker does not end.
    """
    workers = proc.children(old.pid) if old else []
    wanted = generation_of(home.nginx_conf.read_text())
    kill()

    def successor() -> Process | None:
        leader = record.leader(home, NGINX)
        if leader is None or leader == old:
            return None
        # The socket is the old workers' too, so now and then one of those answers instead.
        answer = http_probe.ask_nginx(home.internal_socket, "/generation")
        serves = answer.body.decode(errors="replace") == wanted
        return leader if serves and answer.is_from(proc.children(leader.pid)) else None

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


def _alive(workers: Sequence[Process]) -> int:
    return sum(map(proc.alive, workers))


def _run(nginx: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [nginx, *options], capture_output=True, text=True, timeout=30, check=False
    )
