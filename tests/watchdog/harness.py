"""A real supervisord with tiny services and the watchdog, and an nginx that only takes notes."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

from bulkhead import clock, proc, testing
from bulkhead.proc import Process
from bulkhead.records import WatchRow
from bulkhead.render.files import supervisor_command
from bulkhead.render.paths import Home
from bulkhead.watchdog.state import Spec
from tests.support.rows import rows_so_far

ROOT = Path(__file__).parents[2]

HEAD = """
[unix_http_server]
file={run}/supervisor.sock
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
{wakeup}
[supervisord]
logfile={log}/supervisord.log
pidfile={run}/supervisord.pid
nodaemon=true
"""

WAKEUP = """
[rpcinterface:wakeup]
supervisor.rpcinterface_factory=wakeup:make
"""

PROGRAM = """
[program:{name}]
command={command}
directory={root}
environment={environment}
priority={priority}
startsecs={startsecs}
stopwaitsecs=5
killasgroup=true
autorestart=true
startretries=1000000
redirect_stderr=true
stdout_logfile={log}/{name}.log
"""

# What is awaited here may need seconds of processor time, and other tests want the same processors.
wait_until = partial(testing.wait_until, timeout_s=40)


@dataclass(frozen=True)
class Service:
    """One program of the little stack."""

    name: str
    workers: int = 0  # 0: it serves itself
    kind: str = ""
    hang_s: float = 0.5
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> Spec:
        """What the watchdog is told of it."""
        kind = self.kind or ("gunicorn" if self.workers else "tornado")
        service = self.name.rpartition("-")[0]  # nginx is none
        return Spec(self.name, kind, service, f"127.0.0.1:{self.name[-1]}", 1, self.hang_s, 5)


class Little:
    """A running little stack."""

    def __init__(
        self,
        home: Home,
        services: list[Service],
        watched: bool,
        peers: bool,
        prefix: Sequence[str],
    ) -> None:
        self.home = home
        self._nginx: list[FakeNginx] = []
        self.services = services
        for folder in (home.etc, home.run, home.log, home.rows, home.programs, home.drained):
            folder.mkdir(mode=0o700, parents=True)
        home.orphans.mkdir()
        home.supervisord_conf.write_text(self._supervisord_conf(watched))
        self.write_watch_conf(peers)
        self._child = subprocess.Popen(
            [*prefix, *self._command()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.session = self._child.pid
        found = proc.find(self.session)
        assert found
        record = {"pid": found.pid, "start_ticks": found.start_ticks, "source": "kept"}
        (home.run / "stack.json").write_text(json.dumps(record))

    def _command(self) -> list[str]:
        conf = str(self.home.supervisord_conf)
        plugins = ["/usr/bin/env", "PYTHONPATH=supervisor"]
        return [*plugins, sys.executable, "-m", "supervisor.supervisord", "-s", "-c", conf]

    def _supervisord_conf(self, watched: bool) -> str:
        def program(name: str, words: Sequence[str], priority: int, **variables: str) -> str:
            script = ROOT / "supervisor" / "launch"
            launch = ["/bin/sh", str(script), str(self.home.run), name]
            python = [sys.executable, sys.executable]
            return PROGRAM.format(
                name=name,
                command=supervisor_command([*launch, *python, *words]),
                priority=priority,
                root=ROOT,
                run=self.home.run,
                log=self.home.log,
                startsecs=5 if watched and name != "watch" else 1,
                environment=",".join(f'{key}="{value}"' for key, value in variables.items()),
            )

        wakeup = WAKEUP if watched else ""
        text = HEAD.format(run=self.home.run, log=self.home.log, wakeup=wakeup)
        if watched:
            text += program("watch", ["-m", "bulkhead.watchdog", str(self.home.path)], 1)
        for one in self.services:
            sends_heartbeats = one.kind != "nginx"  # which nobody hears
            hears = self.home.notify_socket if sends_heartbeats else self.home.run / "nobody.sock"
            variables = {"NOTIFY_SOCKET": str(hears), **one.environment}
            if one.hang_s:
                variables["WATCHDOG_USEC"] = str(round(one.hang_s * 1e6))
            text += program(
                one.name, ["-m", "tests.watchdog.beater", str(one.workers)], 10, **variables
            )
        return text

    def write_watch_conf(self, peers: bool) -> None:
        """Tell the watchdog what to watch."""
        programs = [Spec("watch", "watch", "", "", 1, 0, 1), *(one.spec for one in self.services)]
        value = {
            "root": str(ROOT),
            "python": sys.executable,
            "supervisord": self._command(),
            "peers": peers,
            "public": "",
            "host": "",
            "hear": "",
            "tell": [],
            "key_file": "",
            "closing_s": 0.2,
            "rows_max_mb": 0,
            "rows_keep": 5,
            "proxy_grace_s": 5,
            "programs": [asdict(one) for one in programs],
        }
        fresh = self.home.etc / "watch.json.new"
        fresh.write_text(json.dumps(value))
        fresh.rename(self.home.watch_conf)

    # What there is

    def leader(self, name: str) -> Process | None:
        """Who leads a program, if it lives."""
        return proc.read_note(self.home.programs / name)

    def state(self, name: str) -> dict[str, Any]:
        """What the watchdog says of a program; empty when it has said nothing yet."""
        try:
            text = (self.home.run / "watch.json").read_text()
        except FileNotFoundError:
            return {}
        found: dict[str, Any] = json.loads(text)["programs"].get(name, {})
        return found

    def up(self, name: str, than: Process | None = None) -> Process:
        """Wait until a program is up, led by another process than `than`; its leader."""

        def found() -> Process | None:
            one, said = self.leader(name), self.state(name)
            same = one and said.get("pid") == one.pid and said["state"] == "up"
            return one if same and one != than else None

        return wait_until(f"{name} is up", found, every_s=0.005)

    def is_in(self, name: str, state: str) -> None:
        """Wait until the watchdog says that a program is in this state."""
        wait_until(f"{name} is {state}", lambda: self.state(name).get("state") == state)

    def rows(self, kind: str, target: str = "") -> list[WatchRow]:
        """The watchdog's rows of one kind, in order."""
        with suppress(FileNotFoundError):
            rows = rows_so_far(self.home.watch_rows, WatchRow)
            return [one for one in rows if one.kind == kind and target in ("", one.target)]
        return []

    def row(self, kind: str, target: str, nth: int = 1) -> WatchRow:
        """Wait for the nth such row."""
        wait_until(f"{nth} {kind} of {target}", lambda: len(self.rows(kind, target)) >= nth)
        return self.rows(kind, target)[nth - 1]

    def nginx(self) -> "FakeNginx":
        """Start an nginx; it goes away with the rest."""
        self._nginx.append(FakeNginx(self.home.internal_socket))
        return self._nginx[-1]

    def end(self) -> None:
        """SIGKILL all of it."""
        self.home.stopping.touch()
        for one in self._nginx:
            one.close()

        def gone() -> bool:
            left = proc.session(self.session)
            for one in left:
                proc.send(one, SIGKILL)
            return not left

        wait_until("the little stack has ended", gone)
        self._child.wait()


@contextmanager
def little(
    folder: Path,
    *services: Service,
    watched: bool = True,
    peers: bool = False,
    prefix: Sequence[str] = (),
) -> Iterator[Little]:
    """A little stack whose services are up; at the end nothing of it is left.

    Its supervisord is started by a command behind the words of `prefix`.
    """
    stack = Little(Home(folder / "home"), list(services), watched, peers, prefix)
    try:
        for one in services:
            if not one.environment.get("BROKEN"):
                if watched:
                    stack.up(one.name)
                else:
                    wait_until(one.name, partial(stack.leader, one.name))
        yield stack
    except BaseException:
        for log in sorted(stack.home.log.iterdir()):
            print(f"--- {log.name}\n{log.read_text()[-3000:]}")
        if stack.home.watch_rows.exists():
            print(stack.home.watch_rows.read_text())
        raise
    finally:
        stack.end()


class FakeNginx:
    """Takes `PUT /peers` at an internal socket and notes when each came and what it said.

    It says that it is the worker `pids[0]`, `pids[1]`, ... of one connection after another.
    """

    def __init__(self, path: Path, *pids: int) -> None:
        self._pids = iter(pids)
        self._open: list[socket.socket] = []
        self.tables: list[tuple[float, dict[str, tuple[str, int]]]] = []
        self.connections = 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._path = path
        threading.Thread(target=self._accept, daemon=True).start()

    def states(self) -> dict[str, str]:
        """What was said last of each instance."""
        return {name: one[0] for name, one in self.tables[-1][1].items()} if self.tables else {}

    def close(self) -> None:
        """Go away."""
        if self._listening.fileno() < 0:
            return
        self._path.unlink()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            served = (connection, next(self._pids, 0))
            threading.Thread(target=self._serve, args=served, daemon=True).start()

    def _serve(self, connection: socket.socket, pid: int) -> None:
        # A client that is killed with an answer unread leaves a reset behind, and no end of file.
        with suppress(ConnectionError), connection, connection.makefile("rb") as lines:
            while request := lines.readline():
                assert request == b"PUT /peers HTTP/1.1\r\n"
                headers = dict(line.lower().split(b": ") for line in iter(lines.readline, b"\r\n"))
                body = lines.read(int(headers[b"content-length"])).decode()
                rows = [line.split(" ") for line in body.splitlines()]
                self.tables.append(
                    (clock.now(), {row[1]: (row[4], int(row[5])) for row in rows if len(row) == 6})
                )
                connection.sendall(f"HTTP/1.1 204 No Content\r\nX-Boot: {pid}\r\n\r\n".encode())


def cpu_s(one: Process) -> float:
    """Processor time that a process has used so far."""
    fields = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
