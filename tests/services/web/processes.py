"""Real gunicorn masters of the web service on free ports, and what to see of them from outside."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bulkhead.testing import wait_until
from tests.services.web.browser import program

ROOT = Path(__file__).resolve().parents[3]
CONF = Path("services/web/gunicorn.conf.py")
GUNICORN = Path(sys.executable).parent / "gunicorn"
START_S = 15.0


def accepts(port: int) -> bool:
    """Whether anybody accepts connections at the port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def state(pid: int) -> str:
    """The state of a process in one letter (proc(5)); empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[0]


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    return state(pid) not in ("", "Z")


class WebInstance:
    """One master with its workers."""

    def __init__(self, port: int, folder: Path, environ: dict[str, str], app: str) -> None:
        self.port = port
        self.rows = folder / f"{port}.rows.jsonl"
        self.log = folder / f"{port}.log"
        self.conf = CONF
        self.prefix: Sequence[str] = ()  # what runs the master
        self.pids: set[int] = set()
        self._app = app
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONWARNINGS": "default",
            "BULKHEAD_ADDRESS": f"127.0.0.1:{port}",
            "BULKHEAD_ROWS": str(self.rows),
            "BULKHEAD_SERVICE": "web",
        } | environ

    @property
    def master(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start the master and wait until one of its workers answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.prefix, GUNICORN, "-c", self.conf, self._app],
                cwd=ROOT,
                env=self._environ,
                stdout=log,
                stderr=log,
                # A group of its own, as a supervisor gives it: a test's Ctrl-C must not reach it.
                start_new_session=True,
            )
        wait_until(f"an answer of the instance that logs to {self.log}", self._up, START_S)

    def _up(self) -> bool:
        code = self._process.poll()
        assert code is None, f"gunicorn ended with {code}:\n{self.log.read_text()}"
        return accepts(self.port) and program(self.port).get("/readyz").status == 200

    def workers(self) -> list[int]:
        """The pids of the workers that live now."""
        children = Path(f"/proc/{self.master}/task/{self.master}/children").read_text()
        pids = [int(pid) for pid in children.split() if alive(int(pid))]
        self.pids.update(pids)
        return pids

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the master."""
        self.workers()
        self._process.send_signal(number)

    def kill_worker(self, pid: int, number: signal.Signals) -> None:
        """Send a signal to one of the workers."""
        assert pid in self.workers()
        os.kill(pid, number)

    def wait(self, timeout_s: float = 20.0) -> int:
        """Wait for the master's end; its exit code."""
        return self._process.wait(timeout_s)

    def close(self) -> None:
        """Stop it and see that nothing is left: no process, no listener, nothing in $HOME."""
        if self._process.poll() is None:
            self.send(signal.SIGTERM)
            assert self.wait() == 0, self.log.read_text()
        wait_until("all workers gone", lambda: not any(alive(pid) for pid in self.pids))
        assert not accepts(self.port)
        assert not list(self.rows.parent.glob(".gunicorn*"))
        assert "Warning" not in self.log.read_text(), self.log.read_text()
