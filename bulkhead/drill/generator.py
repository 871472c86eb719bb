"""The open-loop load of a drill: Locust as a subprocess, from its start to its last row."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec

from bulkhead.clock import wait_until
from bulkhead.control.logs import tail
from bulkhead.drill.locust import EXIT_ROWS, Follower
from bulkhead.drill.spec import LoadSection
from bulkhead.errors import EvidenceError, StartError
from bulkhead.faults.base import Site
from bulkhead.records import ClientRow
from bulkhead.rundir import RunDir

BOOT_S = 30
# After a stop, requests in flight may take their whole time-out; then rows are written.
STOP_MARGIN_S = 15


class Generator:
    """One load for the time of a context; by itself it stops after `longest_s`, come what may."""

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
        self.rows = Follower(out.client_rows)
        self._load = load
        self._out = out
        self._root = site.topology.root
        self._url = site.url
        # What a user has set for Locust of his own is not meant for this load.
        own = {name: text for name, text in os.environ.items() if not name.startswith("LOCUST_")}
        self._environment = own | {
            "BULKHEAD_PARENT_PID": str(os.getpid()),  # it ends when we are killed
            "BULKHEAD_PROXY_URL": site.url,
            "BULKHEAD_LOAD_NETWORK": site.hosts.network if site.hosts else "",
            "BULKHEAD_CLIENT_ROWS": str(out.client_rows),
            "BULKHEAD_RATE": f"{first_rate:g}",
            "BULKHEAD_STEPS": json.dumps(steps),
            "BULKHEAD_ARRIVALS": load.arrivals,
            "BULKHEAD_MIX": json.dumps(load.mix),
            "BULKHEAD_SEED": str(seed),
            "BULKHEAD_REQUEST_TIMEOUT_S": f"{load.timeout_s:g}",
            "BULKHEAD_CONNECTIONS": str(load.connections),
            "BULKHEAD_LOAD_S": f"{longest_s:g}",
        }

    def __enter__(self) -> Self:
        with self._out.locust_log.open("wb") as log:
            self._child = subprocess.Popen(
                [
                    *(sys.executable, "-m", "locust", "-f", self._load.locustfile),
                    # The host outranks the user's own locust.conf only on the command line.
                    *("--headless", "--only-summary", "--users", "1", "--host", self._url),
                ],
                cwd=self._root,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we pass it on in an orderly way
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def wait_for_rows(self) -> float:
        """Wait until the first requests have ended; the moment for which one of them was planned.

        That is when the load began, but for the time that its first requests took.

        Raises:
            StartError, EvidenceError: it did not begin, or ended; with the last lines that Locust
                printed.
        """
        rows = self._out.client_rows

        def first() -> bytes:
            self.require()
            if not rows.exists():
                return b""
            with rows.open("rb") as file:
                line = file.readline()
            return line if line.endswith(b"\n") else b""

        if not (line := wait_until(first, BOOT_S)):
            raise StartError("the load did not begin:", *tail(self._out.locust_log))
        return msgspec.json.decode(line, type=ClientRow).planned

    def require(self) -> None:
        """Check that it still runs.

        Raises:
            EvidenceError: it has ended by itself; with the last lines that Locust printed.
        """
        if self._child.poll() is not None:
            raise EvidenceError(
                f"the load ended by itself with exit code {self._child.returncode}:",
                *tail(self._out.locust_log),
            )

    def stop(self) -> None:
        """No more arrivals; wait for the requests in flight and for the last row.

        Raises:
            EvidenceError: rows are missing, or it did not end by itself.
        """
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGINT)
        try:
            self._child.wait(self._load.timeout_s + STOP_MARGIN_S)
        except subprocess.TimeoutExpired:
            raise EvidenceError(
                "the load did not end, so rows may be missing:", *tail(self._out.locust_log)
            ) from None
        if self._child.returncode == EXIT_ROWS:
            raise EvidenceError("rows of the load are missing:", *tail(self._out.locust_log))
        if self._child.returncode != 0:
            raise EvidenceError(
                f"the load ended with exit code {self._child.returncode}:",
                *tail(self._out.locust_log),
            )
