"""The nginx program: where it is, whether it accepts a configuration, and which one it serves."""

import re
import shutil
import signal
import subprocess
from http.client import HTTPException
from pathlib import Path

from bulkhead.clock import wait_until
from bulkhead.control import process, record
from bulkhead.control.record import Record
from bulkhead.control.unix import UnixConnection
from bulkhead.errors import ConfigError, MissingError, StartError, StateError
from bulkhead.render.files import File, write_all
from bulkhead.render.nginx import LUA_MODULES, MODULES, generation_of
from bulkhead.render.paths import Home
from bulkhead.render.templates import nginx_quoted

RELOAD_S = 10
LISTEN = re.compile(r'^(\s*listen) (?!"?unix:)\S+', re.MULTILINE)
# Debian's nginx is in /usr/sbin, which is not on an ordinary user's PATH.
SEARCH = "/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin"


def find_nginx(program: str, path: str) -> Path:
    """`program` by its path, or by its name in `path` (as in $PATH) and where packages put it.

    Raises:
        MissingError: it is not installed.
    """
    found = shutil.which(program, path=f"{path}:{SEARCH}")
    if found is None:
        raise MissingError(
            f"{program} is not installed: `make setup` installs nginx, "
            "or set proxy.program to the path of one"
        )
    return Path(found)


def find_modules(nginx: Path) -> Path | None:
    """The folder with the Lua module of this nginx; None when it is compiled in.

    Raises:
        MissingError: it has none, so it cannot run the watched balancer.
    """
    done = subprocess.run([nginx, "-V"], capture_output=True, text=True, timeout=30, check=False)
    built = done.stderr
    if re.search(r"--add-module=\S*(lua-nginx-module|ngx_lua|http-lua)", built):
        return None
    told = re.search(r"--modules-path=(\S+)", built)
    folder = Path(told[1]) if told else MODULES
    missing = [name for name in LUA_MODULES if not (folder / name).exists()]
    if missing:
        raise MissingError(
            f"{nginx} has no Lua module ({folder / missing[0]} is not there): `make setup` "
            'installs libnginx-mod-http-lua, or set proxy.balancer = "nginx" to do without'
        )
    return folder


def test_configuration(nginx: Path, home: Path, conf: Path) -> None:
    """Let nginx itself judge a configuration (`nginx -t`).

    Raises:
        ConfigError: with nginx's own words.
    """
    done = subprocess.run(
        [nginx, "-t", "-q", "-p", home, "-c", conf],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode != 0:
        complaints = [line for line in done.stderr.splitlines() if line.strip()]
        raise ConfigError(f"nginx refuses {conf}:", *complaints)


def test_draft(nginx: Path, home: Home, text: str) -> Path:
    """Let nginx judge a text before it is put in place; where it was written for that.

    Raises:
        ConfigError: with nginx's own words; nothing is left of the draft.
    """
    draft, trial = home.etc / "nginx.conf.new", home.etc / "nginx.conf.test"
    write_all([File(draft, text), File(trial, unheard(text, home))])
    try:
        test_configuration(nginx, home.path, trial)
    except ConfigError:
        draft.unlink()
        raise
    finally:
        trial.unlink()
    return draft


def unheard(text: str, home: Home) -> str:
    """A configuration with no port. `nginx -t` listens for a moment, and then drops who connected.

    With it a request that came while a stack started was reset, and not refused.
    """
    place = nginx_quoted(f"unix:{home.run}/test.sock")
    return LISTEN.sub(lambda found: f"{found[1]} {place}", text)


def take_over(running: Record, home: Home, text: str) -> None:
    """Give a running nginx this configuration, and wait until its old workers accept no more.

    Raises:
        ConfigError: nginx refuses the text; the old configuration stays, on disk and in force.
        StateError: there is no nginx to tell.
        StartError: the old workers still take new connections after `RELOAD_S`.
    """
    master = _master(running, home)
    draft = test_draft(Path(running.nginx), home, text)
    draft.replace(home.nginx_conf)
    old = process.children(master.pid)
    process.send(master, signal.SIGHUP)
    wanted = generation_of(text)
    done = wait_until(
        lambda: not any(map(_accepts, old)) and generation(home.internal_socket) == wanted,
        RELOAD_S,
    )
    if not done:
        raise StartError(f"nginx did not take over the new configuration within {RELOAD_S} s")


def _master(running: Record, home: Home) -> process.Process:
    """The nginx that leads. A pid file may be stale and name a stranger."""
    master = record.leader(home, "nginx")
    if master is None or master not in running.members():
        raise StateError("nginx is not running now; see `make status` and `make logs`")
    return master


def generation(socket: Path) -> str:
    """Which rendering the worker that answers serves; empty when nginx does not answer."""
    connection = UnixConnection(socket, timeout_s=2)
    try:
        connection.request("GET", "/generation")
        return connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return ""
    finally:
        connection.close()


def _accepts(worker: process.Process) -> bool:
    """Whether an old worker still takes new connections; one that drains says so in its title."""
    try:
        title = Path(f"/proc/{worker.pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return process.alive(worker) and b"shutting down" not in title
