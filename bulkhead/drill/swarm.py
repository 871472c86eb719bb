"""Locust's processes: one alone, or a master and its workers, started and ended together.

Locust is never imported: it patches the whole standard library of the process that imports it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from bulkhead.clock import wait_until
from bulkhead.control import interrupts
from bulkhead.control.logs import tail
from bulkhead.drill import merge
from bulkhead.errors import EvidenceError, StartError
from bulkhead.rundir import RunDir

MOST_WORKERS = 16
BOOT_S = 30
QUIT_S = 5  # a worker that its master has told to quit has only to end
EXIT_ROWS = 3  # loadtest/evidence.py: a row is missing

Child = subprocess.Popen[bytes]


class Swarm:
    """Locust for the time of a context; at its end nothing of it runs any more.

    All processes run `locustfile`, in the folder `root`; `options` are for the one that leads.
    Their rows are to go to `out.client_rows`; those of several workers do so at the end.
    """

    def __init__(
        self,
        locustfile: str,
        options: Sequence[str],
        environment: Mapping[str, str],
        workers: int,
        root: Path,
        out: RunDir,
    ) -> None:
        self._command = [sys.executable, "-m", "locust", "-f", locustfile]
        self._options = options
        self._environment = environment
        self._number = workers
        self._root = root
        self._out = out
        self._leader: Child | None = None
        self._workers: list[Child] = []

    @property
    def files(self) -> list[Path]:
        """Where rows are written while it runs."""
        if self._number == 1:
            return [self._out.client_rows]
        return [self._out.worker_rows(worker) for worker in range(self._number)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        children = [*self._workers, *([self._leader] if self._leader else [])]
        for child in children:
            child.kill()
        for child in children:
            child.wait()

    def start(self) -> None:
        """Start all of them. With workers, the master says first on which port it listens.

        Raises:
            StartError: there is no master; with the last lines that it printed.
        """
        with interrupts.held():  # none must be born without us knowing it
            self._leader = self._spawn(self._leading(), self._out.locust_log)
        if self._number > 1:
            joining = ["--worker", "--master-host", "127.0.0.1", "--master-port", self._port()]
            for worker in range(self._number):
                with interrupts.held():
                    mine = {"BULKHEAD_LOAD_WORKER": str(worker)}
                    log = self._out.worker_log(worker)
                    self._workers.append(self._spawn(joining, log, mine))

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the one that leads; whether it came."""
        try:
            self._leading_child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def interrupt(self) -> None:
        """No more requests; those in flight may finish."""
        if self._leading_child.poll() is None:
            self._leading_child.send_signal(signal.SIGINT)

    def lost(self) -> str:
        """Which worker has ended before its time, and how, in a few words; "" for none."""
        for worker, child in enumerate(self._workers):
            code = child.poll()
            if code is not None:
                said = merge.end(self._out, worker)
                if said is None or said.early:
                    return f"worker {worker} of the load (pid {child.pid}) {_fate(code)}"
        return ""

    def require_workers(self) -> None:
        """Check that every worker runs, or has ended well.

        Raises:
            EvidenceError: one has not; it says which, and how it ended.
        """
        if lost := self.lost():
            raise EvidenceError(self._nothing(f"{lost}: rows are missing"))

    def finish(self) -> int:
        """After the end of the one that leads: end the workers and merge their rows.

        The result is the exit code of the one that leads.

        Raises:
            StartError: with workers: it ended before any request.
            EvidenceError: rows are missing; a line for each worker that lacks some.
        """
        code = self._leading_child.wait()
        for worker in self._workers:
            _end(worker, QUIT_S if code >= 0 else 0)
        if self._number > 1 and code and not self._has_rows():
            raise StartError(
                f"the load's master ended with exit code {code} before any request:",
                *tail(self._out.locust_log),
            )
        if self._workers and code < 0:
            raise EvidenceError(self._nothing(f"the load's master {_fate(code)}"))
        self.require_workers()
        if code == EXIT_ROWS:
            raise EvidenceError(
                "rows of the load are missing, so nothing can be said:", *tail(self._out.locust_log)
            )
        if self._workers and code in (0, 1):
            merge.merge(self._out, self._number)
        return code

    def _nothing(self, why: str) -> str:
        return f"{why}, so nothing can be said; see {self._out.path}"

    def _has_rows(self) -> bool:
        return any(path.exists() and path.stat().st_size for path in self.files)

    @property
    def _leading_child(self) -> Child:
        if self._leader is None:
            raise StartError("the load was stopped before it began")
        return self._leader

    def _leading(self) -> list[str]:
        if self._number == 1:
            return list(self._options)
        # Nobody else's machine can reach it there; the system picks a port that is free.
        listening = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", "0"]
        expecting = ["--expect-workers", str(self._number), "--expect-workers-max-wait"]
        return [*self._options, *listening, *expecting, str(BOOT_S)]

    def _spawn(
        self, options: Sequence[str], log: Path, more: Mapping[str, str] | None = None
    ) -> Child:
        rows = self._out.client_rows if self._number == 1 else self._out.worker_rows("{worker}")
        with log.open("wb") as said:
            return subprocess.Popen(
                [*self._command, *options],
                cwd=self._root,
                env={
                    **self._environment,
                    "BULKHEAD_PARENT_PID": str(os.getpid()),  # it ends when we are killed
                    "BULKHEAD_CLIENT_ROWS": str(rows),
                    "BULKHEAD_LOAD_PORT_FILE": str(self._out.locust_port),
                    **(more or {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # Ctrl-C is for us; we pass it on in an orderly way
            )

    def _port(self) -> str:
        file = self._out.locust_port
        wait_until(lambda: file.exists() or self._leading_child.poll() is not None, BOOT_S)
        if not file.exists():
            raise StartError("Locust's master did not start:", *tail(self._out.locust_log))
        port = file.read_text().strip()
        file.unlink()
        return port


def _end(worker: Child, patience_s: float) -> None:
    """Wait for a worker that is to end by itself; what still runs then is told to."""
    try:
        worker.wait(patience_s)
    except subprocess.TimeoutExpired:
        worker.terminate()
        try:
            worker.wait(BOOT_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def _fate(code: int) -> str:
    if code >= 0:
        return f"ended by itself with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"
