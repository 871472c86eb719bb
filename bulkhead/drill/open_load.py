"""The load of a drill: requests at planned times, from the start of Locust to its last row."""

from collections.abc import Sequence

import msgspec

from bulkhead.clock import wait_until
from bulkhead.drill.client_rows import Follower
from bulkhead.drill.spec import LoadSection
from bulkhead.drill.swarm import BOOT_S, Swarm, verdict
from bulkhead.errors import EvidenceError, StartError
from bulkhead.faults.contract import Site
from bulkhead.records import ClientRow
from bulkhead.rundir import RunDir
from bulkhead.supervise.status import tail

# After a stop, requests in flight may take their whole time-out; then rows are written.
STOP_MARGIN_S = 15


class OpenLoad(Swarm):
    """One load for the time of a context. It stops after `longest_s` even if nobody stops it."""

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
        settings = {
            "proxy_url": site.url,
            "network": site.client_network,
            "rate": first_rate,
            "steps": steps,
            "arrivals": load.arrivals,
            "mix": load.mix,
            "seed": seed,
            "request_timeout_s": load.timeout_s,
            "give_up_s": load.give_up_s or None,
            "connections": load.connections,
            "load_s": longest_s,
        }
        options = ["--headless", "--only-summary", "--users", "1", "--host", site.url]
        super().__init__(load.locustfile, options, settings, load.workers, site.topology.root, out)
        self.rows = Follower(self.files)

    def wait_for_rows(self) -> float:
        """Wait until the first requests have ended; the moment for which one of them was planned.

        That is when the load started, but for the time that its first requests took.

        Raises:
            StartError, EvidenceError: it did not start, or ended; with the last lines that Locust
                printed.
        """
        if not (line := wait_until(self._first_row, BOOT_S)):
            raise StartError("the load did not begin:", *tail(self._out.locust_log))
        return msgspec.json.decode(line, type=ClientRow).planned

    def require(self) -> None:
        """Check that it still runs.

        Raises:
            EvidenceError: it has ended by itself; with Locust's words about it.
        """
        if self.wait(0):
            code = self.finish()
            raise EvidenceError(
                f"the load ended by itself with exit code {code}:", *verdict(self._out.locust_log)
            )
        self.require_workers()

    def stop(self) -> None:
        """No more arrivals; wait for the requests in flight and for the last row.

        Raises:
            EvidenceError: rows are missing, or it did not end by itself.
        """
        self.interrupt()
        if not self.wait(self._load.timeout_s + STOP_MARGIN_S):
            raise EvidenceError(
                "the load did not end, so rows may be missing:", *tail(self._out.locust_log)
            )
        if code := self.finish():
            raise EvidenceError(
                f"the load ended with exit code {code}:", *verdict(self._out.locust_log)
            )

    def _first_row(self) -> bytes:
        """A first row of one of the files, as soon as there is one."""
        self.require()
        for path in self.files:
            if path.exists():
                with path.open("rb") as file:
                    line = file.readline()
                if line.endswith(b"\n"):
                    return line
        return b""
