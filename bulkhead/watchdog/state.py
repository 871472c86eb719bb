"""The watchdog's files: its configuration, its state file, its event log, its rows' rotation."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bulkhead.atomic import BROKEN, no_link, replace
from bulkhead.clock import age, now
from bulkhead.proc import find
from bulkhead.render.paths import Home

if TYPE_CHECKING:
    from bulkhead.watchdog.processes import Program

WATCH = "watch"  # the kind of the program that is the watchdog itself
NGINX = "nginx"
GUNICORN = "gunicorn"

COMPLAIN_S = 60.0
COMPLAINTS = 100
SIZES_EVERY_S = 10.0
MB = 1 << 20


@dataclass(frozen=True)
class Spec:
    """One supervised program. Only instances have a `service` and an `address`."""

    name: str
    kind: str  # nginx, tornado, gunicorn or watch
    service: str
    address: str
    weight: int
    hang_s: float  # 0: never killed for hanging
    grace_s: float


@dataclass(frozen=True)
class Conf:
    """HOME/etc/watch.json, as far as the watchdog needs it."""

    root: str
    supervisord: list[str]  # the command that starts one
    peers: bool  # whether nginx is to be told
    public: str  # where nginx serves clients; empty where there is no nginx
    host: str  # of several, the name of this one
    hear: str  # the address at which other hosts announce their instances
    tell: list[str]  # the proxies to which this host announces its own
    key_file: str  # the key that all hosts of a stack have
    closing_s: float
    rows_max_mb: int  # larger files of rows are set aside; 0: no limit
    rows_keep: int  # so many of those are kept
    programs: list[Spec]


def read_conf(path: Path) -> Conf:
    """Read the file, rendered from checked settings; OSError or ValueError says what is wrong."""
    try:
        given = json.loads(path.read_text())
        programs = [Spec(**_known(Spec, one)) for one in given["programs"]]
        return Conf(**_known(Conf, given) | {"programs": programs})
    except BROKEN as error:
        raise ValueError(f"{path}: {error!r}") from error


def _known(kind: type[Spec] | type[Conf], given: dict[str, Any]) -> dict[str, Any]:
    return {field.name: given[field.name] for field in fields(kind)}


class StateFile:
    """HOME/run/watch.json: the state of every program, for `status` and for the next watchdog."""

    def __init__(self, home: Home) -> None:
        self._path = home.standing
        self._since: dict[str, tuple[str, float]] = {}  # the state of each program, and since when
        self._written: list[tuple[object, ...]] = []

    def write(self, programs: "dict[str, Program]") -> None:
        """Write it if something has changed."""
        short: list[tuple[object, ...]] = [
            (program.name, program.state(), program.leader, program.failures, set(program.serving))
            for program in programs.values()
        ]
        if short != self._written:
            states = {name: self._state(program) for name, program in programs.items()}
            text = json.dumps({"t": now(), "programs": states}, indent=1)
            replace(self._path, text + "\n", durable=False)  # pids, in a loop that must not wait
            self._written = short

    def _state(self, program: "Program") -> dict[str, object]:
        state = program.state()
        if self._since.get(program.name, ("", 0))[0] != state:
            self._since[program.name] = state, round(now(), 3)
        pid = program.leader.pid if program.leader else 0
        nginx = program.spec.kind == NGINX and program.was_ready
        return {
            "pid": pid,
            "state": state,
            "since": self._since[program.name][1],
            "crashes": program.failures,
            "ready_pids": [pid] if nginx else sorted(one.pid for one in program.in_rotation),
        }

    def ready_before(self) -> dict[str, tuple[int, list[int]]]:
        """The previous watchdog's knowledge: the leader of each program, and its ready processes.

        So this one need not wait for a heartbeat of each before it can tell nginx anything.
        """
        try:
            state = json.loads(self._path.read_text())
            written, programs = float(state["t"]), state["programs"]
            return {
                name: (one["pid"], [pid for pid in one["ready_pids"] if _lived_at(pid, written)])
                for name, one in programs.items()
                if _lived_at(one["pid"], written)
            }
        except (OSError, ArithmeticError, *BROKEN):
            return {}  # there is none, or one of another version: heartbeats will tell


def _lived_at(pid: int, t: float) -> bool:
    """Whether the present process `pid` lived already at monotonic time `t`."""
    process = find(pid)
    return process is not None and age(process.start_ticks) > now() - t


class EventLog:
    """rows/watch.jsonl: what the watchdog saw and did; and log/watch.log: its complaints."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._complaints: dict[str, float] = {}
        self._missing = 0  # rows that could not be written, and that the file does not mention yet

    def row(self, kind: str, target: str, detail: str) -> None:
        """Append one row (records.WatchRow). Rare, so the file is opened for each: it is rotated.

        Not by way of `records`: that imports msgspec, which takes as long as half the start.
        A row that cannot be written is counted; the file mentions it when there is room again.
        """
        if not (self.tell_missing() and self._append(kind, target, detail)):
            self._missing += 1

    def tell_missing(self) -> bool:
        """Write how many rows are missing, if any; whether the file mentions all of them."""
        if self._missing and self._append("dropped", WATCH, str(self._missing)):
            self._missing = 0
        return not self._missing

    def _append(self, kind: str, target: str, detail: str) -> bool:
        """Append one row; whether the file has all of it."""
        row = {"t": now(), "kind": kind, "target": target, "detail": detail}
        line = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        try:
            path, flags = self._home.watch_rows, os.O_WRONLY | os.O_APPEND
            with open(no_link(path, flags), "ab", buffering=0) as file:  # noqa: PTH123
                written = file.write(line)
        except OSError as error:
            self.complain(f"rows: {error!r}")
            return False
        if written < len(line):
            self.complain("rows: no room for a whole row")
        return written == len(line)

    def attempt(self, part: str, work: Callable[..., object], *arguments: object) -> None:
        """Do one part of the work; report an error, and let the rest go on."""
        try:
            work(*arguments)
        except Exception as error:
            self.complain(f"{part}: {error!r}")

    def complain(self, text: str) -> None:
        """Print a line to stderr, the same line at most once a minute."""
        if now() - self._complaints.get(text, -COMPLAIN_S) < COMPLAIN_S:
            return
        if len(self._complaints) > COMPLAINTS:
            self._complaints.clear()
        self._complaints[text] = now()
        try:
            print(f"watch: {text}", file=sys.stderr, flush=True)
        except OSError:
            self.print_to_file()

    def print_to_file(self) -> None:
        """Print to the log file itself from now on: the supervisord that read the pipe is gone."""
        descriptor = no_link(self._home.log / "watch.log", os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)


class Rotation:
    """A file of rows that has grown too large is set aside, as `bulkhead reopen` does.

    By a process of its own (operate/reopen.py), which may wait. Its output is in watch.log.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._due = now() + SIZES_EVERY_S
        self._running: subprocess.Popen[bytes] | None = None

    def turn(self, conf: Conf) -> None:
        """Look at the sizes, if it is time."""
        if now() < self._due:
            return
        self._due = now() + SIZES_EVERY_S
        if self._running and self._running.poll() is None:
            return
        home, limit = self._home, conf.rows_max_mb * MB
        growing = (home.proxy_rows, home.service_rows, home.watch_rows, home.nginx_log)
        if limit and any(path.exists() and path.stat().st_size > limit for path in growing):
            program = (sys.executable, "-m", "bulkhead.operate.reopen")
            words = (*program, str(home.path), str(conf.rows_keep), str(limit))
            self._running = subprocess.Popen(words, cwd=conf.root)
