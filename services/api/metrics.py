"""The numbers of this process in Prometheus' text format, written by hand: a library costs boot."""

import asyncio
from collections import Counter, deque

from services.api.ledger import Counts

LAG_PERIOD_S = 0.25
LAG_SAMPLES = 40  # the last ten seconds
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counts of finished requests, and how late the event loop runs its timers."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._lags: deque[float] = deque([0.0], maxlen=LAG_SAMPLES)

    def count(self, method: str, status: int) -> None:
        """Count one finished request."""
        # A client may invent any method; it must not be able to make up any number of lines.
        self._requests[method if method in METHODS else "other", status] += 1

    def watch_loop(self) -> None:
        """Sample the lag of the running event loop from now on."""
        loop = asyncio.get_running_loop()
        planned = loop.time() + LAG_PERIOD_S

        def sample() -> None:
            nonlocal planned
            now = loop.time()
            self._lags.append(now - planned)
            planned = now + LAG_PERIOD_S
            loop.call_at(planned, sample)

        loop.call_at(planned, sample)

    def text(self, in_flight: int, ledger: Counts) -> str:
        """All metrics; `in_flight` counts requests that are being received, executed or sent."""
        lines = [
            "# HELP bulkhead_api_requests_total Requests answered, probes included.",
            "# TYPE bulkhead_api_requests_total counter",
            *(
                f'bulkhead_api_requests_total{{method="{method}",status="{status}"}} {count}'
                for (method, status), count in sorted(self._requests.items())
            ),
        ]
        for name, kind, value, meaning in (
            ("in_flight", "gauge", in_flight, "Requests in progress, this one included."),
            ("ledger_commits_total", "counter", ledger.commits, "Transactions committed."),
            (
                "ledger_operations_total",
                "counter",
                ledger.operations,
                "Writes in those transactions; divided by commits: operations per commit.",
            ),
            ("ledger_waiting", "gauge", ledger.waiting, "Writes queued or being committed."),
            ("loop_lag_seconds", "gauge", self._lags[-1], "Lateness of the last timer."),
            ("loop_lag_max_seconds", "gauge", max(self._lags), "Worst lateness in 10 s."),
        ):
            lines += [
                f"# HELP bulkhead_api_{name} {meaning}",
                f"# TYPE bulkhead_api_{name} {kind}",
                f"bulkhead_api_{name} {value:.6g}"
                if kind == "gauge"
                else f"bulkhead_api_{name} {value}",
            ]
        return "\n".join(lines) + "\n"
