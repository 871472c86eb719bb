"""The open-loop load of a drill: Locust as a subprocess, from its start to its last row."""

import json
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec

from bulkhead.clock import wait_until
from bulkhead.control.logs import tail
from bulkhead.drill.locust import Follower
from bulkhead.drill.spec import LoadSection
from bulkhead.drill.swarm import BOOT_S, Swarm
from bulkhead.errors import EvidenceError, StartError
from bulkhead.faults.base import Site
from bulkhead.records import ClientRow
from bulkhead.rundir import RunDir

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
        self._load = load
        self._out = out
        # What a user has set for Locust of his own is not meant for this load.
        own = {name: text for name, text in os.environ.items() if not name.startswith("LOCUST_")}
        environment = own | {
            "BULKHEAD_PROXY_URL": site.url,
            "BULKHEAD_LOAD_NETWORK": site.hosts.network if site.hosts else "",
            "BULKHEAD_RATE": f"{first_rate:g}",
            "BULKHEAD_STEPS": json.dumps(steps),
            "BULKHEAD_ARRIVALS": load.arrivals,
            "BULKHEAD_MIX": json.dumps(load.mix),
            "BULKHEAD_SEED": str(seed),
            "BULKHEAD_REQUEST_TIMEOUT_S": f"{load.timeout_s:g}",
            "BULKHEAD_CONNECTIONS": str(load.connections),
            "BULKHEAD_LOAD_S": f"{longest_s:g}",
        }
        # The host outranks the user's own locust.conf only on the command line.
        options = ["--headless", "--only-summary", "--users", "1", "--host", site.url]
        root = site.topology.root
        self._swarm = Swarm(load.locustfile, options, environment, load.workers, root, out)
        self.rows = Follower(self._swarm.files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._swarm.__exit__(kind, error, trace)

    def start(self) -> None:
        """Start the load.

        Raises:
            StartError: it could not be started; with the last lines that Locust printed.
        """
        self._swarm.start()

    def wait_for_rows(self) -> float:
        """Wait until the first requests have ended; the moment for which one of them was planned.

        That is when the load began, but for the time that its first requests took.

        Raises:
            StartError, EvidenceError: it did not begin, or ended; with the last lines that Locust
                printed.
        """
        if not (line := wait_until(self._first_row, BOOT_S)):
            raise StartError("the load did not begin:", *tail(self._out.locust_log))
        return msgspec.json.decode(line, type=ClientRow).planned

    def require(self) -> None:
        """Check that it still runs.

        Raises:
            EvidenceError: it has ended by itself; with the last lines that Locust printed.
        """
        if self._swarm.wait(0):
            code = self._swarm.finish()
            raise EvidenceError(
                f"the load ended by itself with exit code {code}:", *tail(self._out.locust_log)
            )
        self._swarm.require_workers()

    def stop(self) -> None:
        """No more arrivals; wait for the requests in flight and for the last row.

        Raises:
            EvidenceError: rows are missing, or it did not end by itself.
        """
        self._swarm.interrupt()
        if not self._swarm.wait(self._load.timeout_s + STOP_MARGIN_S):
            raise EvidenceError(
                "the load did not end, so rows may be missing:", *tail(self._out.locust_log)
            )
        if code := self._swarm.finish():
            raise EvidenceError(
                f"the load ended with exit code {code}:", *tail(self._out.locust_log)
            )

    def _first_row(self) -> bytes:
        """A first row of one of the files, as soon as there is one."""
        self.require()
        for path in self._swarm.files:
            if path.exists():
                with path.open("rb") as file:
                    line = file.readline()
                if line.endswith(b"\n"):
                    return line
        return b""
