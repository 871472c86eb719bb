"""Locust's processes: one alone, or a master and its workers, started and ended together.

Locust is never imported: it patches the whole standard library of the process that imports it. The
load of a drill, requests at planned times, is one of them.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, Self

from bulkhead import interrupts
from bulkhead.clock import wait_until
from bulkhead.drill.client_rows import Follower, end, merge
from bulkhead.drill.spec import LoadSection
from bulkhead.errors import EvidenceError, StartError
from bulkhead.faults.contract import Site
from bulkhead.records import ClientRow
from bulkhead.rundir import RunDir
from bulkhead.supervise.status import tail

BOOT_S = 30
# After a stop, requests in flight may take their whole time-out; then rows are written.
STOP_MARGIN_S = 15
QUIT_S = 5  # a worker that its master has told to quit has only to end
EXIT_ROWS = 3  # loadtest/rows.py: a row is missing
VERDICT = "client rows: "  # the same: how a line about the rows begins

# The variables of the user that are passed on: none that Locust or Python takes for a setting.
KEPT = ("PATH", "LD_LIBRARY_PATH", "TZ")

Child = subprocess.Popen[bytes]


def environment(root: Path, home: Path) -> dict[str, str]:
    """The environment of a Locust whose only settings are its command line and what is added here.

    It finds no settings of the user's (docs/load.md): the variables are a fixed list, and `home`,
    an empty folder, is home and working directory. Modules are imported from `root`.
    """
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": str(root)}


class Swarm:
    """Locust for the time of a context; at its end nothing of it runs any more.

    All processes run `locustfile`, a path in the folder `root`; `options` are for the one that
    leads, `settings` for all (loadtest/settings.py). The rows are in `out.client_rows` at the end.
    """

    def __init__(
        self,
        locustfile: str,
        options: Sequence[str],
        settings: Mapping[str, object],
        workers: int,
        root: Path,
        out: RunDir,
    ) -> None:
        self._command = [sys.executable, "-m", "locust", "-f", str(root / locustfile)]
        self._options = options
        self._settings = settings
        self._environment = environment(root, out.path.absolute())
        self._number = workers
        self._out = out
        self._log = out.locust_log
        self._children: list[Child] = []  # first the one that leads
        self._files = [out.client_rows]
        if workers > 1:
            self._files = [out.worker_rows(worker) for worker in range(workers)]
        self.rows = Follower(self._files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended_by: object) -> None:
        for child in self._children:
            child.kill()
        for child in self._children:
            child.wait()

    def start(self) -> None:
        """Start all of them. With workers, the master says first on which port it listens.

        StartError if there is no master; with the last lines that it printed.
        """
        if self._number == 1:
            self._spawn(self._options)
            return
        # Nobody else's machine can reach it there; the system picks a port that is free.
        listening = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", "0"]
        expecting = ["--expect-workers", str(self._number), "--expect-workers-max-wait"]
        self._spawn([*self._options, *listening, *expecting, str(BOOT_S)])
        joining = ["--worker", "--master-host", "127.0.0.1", "--master-port", self._port()]
        for worker in range(self._number):
            self._spawn(joining, worker)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the one that leads; whether it came."""
        with suppress(subprocess.TimeoutExpired):
            self._leader.wait(seconds)
        return self._leader.returncode is not None

    def interrupt(self) -> None:
        """No more requests; those in flight may finish."""
        if self._leader.poll() is None:
            self._leader.send_signal(signal.SIGINT)

    def lost(self) -> str:
        """Which worker has ended before its time, and how, in a few words; "" for none."""
        for worker, child in enumerate(self._children[1:]):
            code = child.poll()
            if code is not None:
                said = end(self._out, worker)
                if said is None or said.early:
                    return f"worker {worker} of the load (pid {child.pid}) {_fate(code)}"
        return ""

    def require_workers(self) -> None:
        """Raise EvidenceError unless every worker runs, or has ended well."""
        if lost := self.lost():
            raise EvidenceError(self._nothing(f"{lost}: rows are missing"))

    def finish(self) -> int:
        """After the end of the one that leads: end the workers, merge their rows; its exit code.

        StartError with workers: it ended before any request. EvidenceError if rows are missing; a
        line for each worker that lacks some.
        """
        code = self._leader.wait()
        _leader, *workers = self._children
        for worker in workers:
            _end(worker, QUIT_S if code >= 0 else 0)
        has_rows = any(path.exists() and path.stat().st_size for path in self._files)
        if self._number > 1 and code and not has_rows:
            why = f"the load's master ended with exit code {code} before any request:"
            raise StartError(why, *tail(self._log))
        if workers and code < 0:
            raise EvidenceError(self._nothing(f"the load's master {_fate(code)}"))
        self.require_workers()
        if code == EXIT_ROWS:
            self._refuse("rows of the load are missing, so nothing can be said:")
        if workers and code in (0, 1):
            merge(self._out, self._number)
        return code

    def _refuse(self, why: str) -> NoReturn:
        raise EvidenceError(why, *verdict(self._log))

    def _nothing(self, why: str) -> str:
        return f"{why}, so nothing can be said; see {self._out.path}"

    @property
    def _leader(self) -> Child:
        if not self._children:
            raise StartError("the load was stopped before it began")
        return self._children[0]

    def _spawn(self, options: Sequence[str], worker: int | None = None) -> None:
        out = self._out
        rows = out.client_rows if self._number == 1 else out.worker_rows("{worker}")
        log = out.locust_log if worker is None else out.worker_log(worker)
        settings = out.locust_settings if worker is None else out.worker_settings(worker)
        own = {
            "rows": str(rows.absolute()),
            "worker": worker,
            "port_file": str(out.locust_port.absolute()),
            "parent_pid": os.getpid(),  # it ends when we are killed
        }
        settings.write_text(json.dumps({**self._settings, **own}, indent=2) + "\n")
        # No signal in between: none must be born without us knowing it.
        with log.open("wb") as said, interrupts.signals_deferred():
            child = subprocess.Popen(
                [*self._command, *options],
                cwd=self._environment["HOME"],
                env={**self._environment, "BULKHEAD_LOAD_SETTINGS": str(settings.absolute())},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for us; we pass it on in an orderly way
            )
            self._children.append(child)

    def _port(self) -> str:
        file = self._out.locust_port
        file.touch()
        port = wait_until(lambda: file.read_text() or self._leader.poll() is not None, BOOT_S)
        file.unlink()
        if not isinstance(port, str):
            raise StartError("Locust's master did not start:", *tail(self._log))
        return port.strip()


class OpenLoad(Swarm):
    """The load of a drill. It stops after `longest_s` even if nobody stops it."""

    def __init__(
        self,
        site: Site,
        load: LoadSection,
        rates: Sequence[tuple[float, float]],
        seed: int,
        longest_s: float,
        out: RunDir,
    ) -> None:
        (_, first_rate), *steps = rates
        self._timeout_s = load.timeout_s
        settings = load.model_dump(include={"arrivals", "mix", "give_up_s", "connections"}) | {
            "proxy_url": site.url,
            "network": site.hosts.network if site.hosts else "",
            "rate": first_rate,
            "steps": steps,
            "seed": seed,
            "request_timeout_s": load.timeout_s,
            "load_s": longest_s,
        }
        options = ["--headless", "--only-summary", "--users", "1", "--host", site.url]
        super().__init__(load.locustfile, options, settings, load.workers, site.topology.root, out)

    def wait_for_rows(self) -> float:
        """Wait until the first requests have ended; the moment for which one of them was planned.

        StartError, EvidenceError if it did not start, or ended; with Locust's last lines.
        """
        if not (first := wait_until(self._first_rows, BOOT_S)):
            raise StartError("the load did not begin:", *tail(self._log))
        return first[0].planned

    def _first_rows(self) -> list[ClientRow]:
        self.require()
        return Follower(self._files).new()

    def require(self) -> None:
        """Raise EvidenceError, with Locust's words about it, if it has ended by itself."""
        if self.wait(0):
            self._refuse(f"the load ended by itself with exit code {self.finish()}:")
        self.require_workers()

    def stop(self) -> None:
        """No more arrivals; wait for the requests in flight and for the last row.

        EvidenceError if rows are missing, or it did not end by itself.
        """
        self.interrupt()
        if not self.wait(self._timeout_s + STOP_MARGIN_S):
            raise EvidenceError("the load did not end, so rows may be missing:", *tail(self._log))
        if code := self.finish():
            self._refuse(f"the load ended with exit code {code}:")


def verdict(log: Path) -> list[str]:
    """What Locust says about its rows, for a message; else its last lines. Its tables come last."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [f"    {line}" for line in lines if line.startswith(VERDICT)] or tail(log)


def _end(worker: Child, patience_s: float) -> None:
    """Wait for a worker to end by itself; if it does not, end it."""
    for act, seconds in ((worker.terminate, patience_s), (worker.kill, BOOT_S)):
        with suppress(subprocess.TimeoutExpired):
            worker.wait(seconds)
            return
        act()
    worker.wait()


def _fate(code: int) -> str:
    if code >= 0:
        return f"ended by itself with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
