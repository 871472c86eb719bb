"""The state that the handlers of one process share, and its metrics."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.api.ledger.tables import LedgerStore
from services.common.identity import Identity
from services.common.notify import Notifier
from services.common.rows import Rows
from services.common.settings import ApiSettings

if TYPE_CHECKING:
    from services.common.fault_injection import Faults

LAG_PERIOD_S = 0.25
LAG_SAMPLES = 40  # the last ten seconds


@dataclass
class Service:
    """The state of this process; everything in it belongs to the event loop."""

    identity: Identity
    settings: ApiSettings
    rows: Rows
    ledger: LedgerStore
    notifier: Notifier = field(default_factory=Notifier.from_environment)
    # One object for each request from its first header line until its answer is with the kernel.
    in_flight: set[object] = field(default_factory=set)
    draining: bool = False
    # Made by the first request of the admin socket.
    faults: "Faults | None" = None
    # Finished requests by method and status.
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    # How late the event loop has run its last timers.
    lags: deque[float] = field(default_factory=lambda: deque([0.0], maxlen=LAG_SAMPLES))

    def watch_loop(self) -> None:
        """Sample the lag of the running event loop from now on."""
        loop = asyncio.get_running_loop()
        planned = loop.time() + LAG_PERIOD_S

        def sample() -> None:
            nonlocal planned
            now = loop.time()
            self.lags.append(now - planned)
            planned = now + LAG_PERIOD_S
            loop.call_at(planned, sample)

        loop.call_at(planned, sample)

    def metrics(self) -> str:
        """All metrics in Prometheus' text format, by hand: a library would make boots slower."""
        lines = [
            "# HELP bulkhead_api_requests_total Requests answered, probes included.",
            "# TYPE bulkhead_api_requests_total counter",
            *(
                f'bulkhead_api_requests_total{{method="{method}",status="{status}"}} {count}'
                for (method, status), count in sorted(self.requests.items())
            ),
        ]
        operations = "Writes in those transactions; divided by commits: operations per commit."
        for name, value, meaning in (
            ("in_flight", len(self.in_flight), "Requests in progress, this one included."),
            ("rows_dropped_total", self.rows.dropped, "Rows that could not be written."),
            ("ledger_commits_total", self.ledger.commits, "Transactions committed."),
            ("ledger_operations_total", self.ledger.operations, operations),
            ("ledger_waiting", self.ledger.waiting, "Writes queued or being committed."),
            ("loop_lag_seconds", self.lags[-1], "Lateness of the last timer."),
            ("loop_lag_max_seconds", max(self.lags), "Worst lateness in 10 s."),
        ):
            counter = name.endswith("_total")
            lines += [
                f"# HELP bulkhead_api_{name} {meaning}",
                f"# TYPE bulkhead_api_{name} {'counter' if counter else 'gauge'}",
                f"bulkhead_api_{name} {value if counter else format(value, '.6g')}",
            ]
        return "\n".join(lines) + "\n"
