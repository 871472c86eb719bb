"""Locust as a subprocess: started, watched through the rows it writes, and ended.

It is never imported: it patches the whole standard library of the process that imports it.
"""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bulkhead.clock import now
from bulkhead.control.logs import tail
from bulkhead.control.start import Say
from bulkhead.errors import EvidenceError, StartError
from bulkhead.records import ClientRow
from bulkhead.rundir import RunDir

# A stopping Locust waits for requests in flight; this is longer than any of them may take.
STOP_S = 30
EXIT_ROWS = 3  # loadtest/evidence.py: a row is missing


@dataclass(frozen=True)
class Load:
    """What Locust is asked for."""

    users: int
    seconds: float
    shape: str
    pace: float  # multiplies every think time
    ui_port: int | None  # where Locust's web UI is to listen; None: none, run by itself


def run(root: Path, url: str, load: Load, out: RunDir, progress: Say) -> None:
    """Run it to its end; Ctrl-C ends it early and keeps what was recorded.

    Raises:
        StartError: Locust could not run; with the last lines that it printed.
        EvidenceError: Locust found that a row is missing.
    """
    with out.locust_log.open("wb") as log:
        child = subprocess.Popen(
            _command(load, out),
            cwd=root,
            env={
                **os.environ,
                "BULKHEAD_PARENT_PID": str(os.getpid()),  # it ends when we are killed
                "BULKHEAD_PROXY_URL": url,
                "BULKHEAD_CLIENT_ROWS": str(out.client_rows),
                "BULKHEAD_SHAPE": load.shape,
                "BULKHEAD_PACE": f"{load.pace:g}",
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us; we pass it on in an orderly way
        )
        try:
            _watch(child, out, load, progress)
        except KeyboardInterrupt:
            progress("stopping the load; requests in flight may finish")
            child.send_signal(signal.SIGINT)
            child.wait(STOP_S)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if child.returncode == EXIT_ROWS:
        raise EvidenceError(
            "rows of the load are missing, so nothing can be said:", *tail(out.locust_log)
        )
    if not out.client_rows.exists() or child.returncode not in (0, 1):
        raise StartError(f"Locust ended with exit code {child.returncode}:", *tail(out.locust_log))


def _command(load: Load, out: RunDir) -> list[str]:
    command = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py"]
    command += ["--users", str(load.users), "--spawn-rate", str(max(1, load.users))]
    command += ["--html", str(out.locust_html)]
    if load.ui_port is not None:
        return [*command, "--web-host", "127.0.0.1", "--web-port", str(load.ui_port)]
    return [*command, "--headless", "--only-summary", "--run-time", f"{load.seconds:g}s"]


def _watch(child: subprocess.Popen[bytes], out: RunDir, load: Load, progress: Say) -> None:
    """Tell every second how it goes, as the rows tell it, until it ends."""
    follower = Follower(out.client_rows)
    began = now()
    while True:
        try:
            child.wait(1)
            return
        except subprocess.TimeoutExpired:
            passed = now() - began
        new, failed = follower.read()
        if new or load.ui_port is None:
            progress(
                f"  {passed:4.0f} s  {new:7,} requests/s  {follower.requests:9,} in all  "
                f"{follower.failed:,} failed" + (f" (+{failed})" if failed else "")
            )
        if load.ui_port is None and passed > load.seconds + STOP_S:
            raise StartError(f"Locust did not end {STOP_S} s after its time; see {out.locust_log}")


class Follower:
    """Counts the rows of a growing file, without reading any of them twice."""

    def __init__(self, path: Path) -> None:
        self.requests = 0
        self.failed = 0
        self._path = path
        self._offset = 0
        self._decode = msgspec.json.Decoder(ClientRow).decode

    def read(self) -> tuple[int, int]:
        """Rows, and failed ones among them, that are new since the last call."""
        if not self._path.exists():
            return 0, 0
        with self._path.open("rb") as rows:
            rows.seek(self._offset)
            whole, newline, _part = rows.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        new = [self._decode(line) for line in whole.splitlines()]
        failed = sum(bool(row.error or row.wrong) or row.status >= 400 for row in new)
        self.requests += len(new)
        self.failed += failed
        return len(new), failed
