"""The load of `bulkhead load`: Locust, watched through the rows it writes, and ended."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bulkhead.clock import now
from bulkhead.control.logs import tail
from bulkhead.control.start import Say
from bulkhead.drill.swarm import BOOT_S, Swarm
from bulkhead.errors import StartError
from bulkhead.records import ClientRow
from bulkhead.rundir import RunDir

# A stopping Locust waits for requests in flight; this is longer than any of them may take.
STOP_S = 30


@dataclass(frozen=True)
class Load:
    """What Locust is asked for."""

    users: int
    seconds: float
    shape: str
    pace: float  # multiplies every think time
    workers: int  # how many processes the users are spread over
    ui_port: int | None  # where Locust's web UI is to listen; None: none, run by itself


def run(root: Path, url: str, load: Load, out: RunDir, progress: Say) -> None:
    """Run it to its end; Ctrl-C ends it early and keeps what was recorded.

    Raises:
        StartError: Locust could not run; with the last lines that it printed.
        EvidenceError: rows are missing: Locust found it, or a worker has died.
    """
    environment = {
        **os.environ,
        "BULKHEAD_PROXY_URL": url,
        "BULKHEAD_SHAPE": load.shape,
        "BULKHEAD_PACE": f"{load.pace:g}",
    }
    options = _options(load, out)
    with Swarm("loadtest/locustfile.py", options, environment, load.workers, root, out) as swarm:
        try:
            swarm.start()
            _watch(swarm, out, load, progress)
        except KeyboardInterrupt:
            progress("stopping the load; requests in flight may finish")
            swarm.interrupt()
            if not swarm.wait(STOP_S):
                raise StartError(
                    f"Locust did not end in {STOP_S} s; see {out.locust_log}"
                ) from None
        code = swarm.finish()
    if not out.client_rows.exists() or code not in (0, 1):
        raise StartError(f"Locust ended with exit code {code}:", *tail(out.locust_log))


def _options(load: Load, out: RunDir) -> list[str]:
    options = ["--users", str(load.users), "--spawn-rate", str(max(1, load.users))]
    options += ["--html", str(out.locust_html)]
    if load.ui_port is not None:
        return [*options, "--web-host", "127.0.0.1", "--web-port", str(load.ui_port)]
    return [*options, "--headless", "--only-summary", "--run-time", f"{load.seconds:g}s"]


def _watch(swarm: Swarm, out: RunDir, load: Load, progress: Say) -> None:
    """Tell every second how it goes, as the rows tell it, until it ends."""
    follower = Follower(swarm.files)
    longest = load.seconds + STOP_S + (BOOT_S if load.workers > 1 else 0)
    began = now()
    while not swarm.wait(1):
        passed = now() - began
        new, failed = follower.read()
        if new or load.ui_port is None:
            progress(
                f"  {passed:4.0f} s  {new:7,} requests/s  {follower.requests:9,} in all  "
                f"{follower.failed:,} failed" + (f" (+{failed})" if failed else "")
            )
        if swarm.lost():
            progress("a worker is gone; stopping the load")
            swarm.interrupt()
            swarm.wait(STOP_S)
            swarm.require_workers()
        if load.ui_port is None and passed > longest:
            raise StartError(f"Locust did not end {STOP_S} s after its time; see {out.locust_log}")


class Follower:
    """Counts the rows of growing files, without reading any of them twice."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.requests = 0
        self.failed = 0
        self._offsets = dict.fromkeys(paths, 0)
        self._decode = msgspec.json.Decoder(ClientRow).decode

    def read(self) -> tuple[int, int]:
        """Rows, and failed ones among them, that are new since the last call."""
        new = [self._decode(line) for path in self._offsets for line in self._lines(path)]
        failed = sum(bool(row.error or row.wrong) or row.status >= 400 for row in new)
        self.requests += len(new)
        self.failed += failed
        return len(new), failed

    def _lines(self, path: Path) -> list[bytes]:
        if not path.exists():
            return []
        with path.open("rb") as rows:
            rows.seek(self._offsets[path])
            whole, newline, _part = rows.read().rpartition(b"\n")
        self._offsets[path] += len(whole) + len(newline)
        return whole.splitlines()
