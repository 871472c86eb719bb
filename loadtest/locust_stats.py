"""Locust's own statistics, fed some requests at a time.

An event for each request would cost more than the request. Locust's tables, files and charts show
the same as if there had been one (docs/load.md).
"""

import time
from collections import Counter
from typing import Any

from locust.stats import StatsEntry, StatsError, bucket_response_time

from loadtest.requests import Kind


class LocustStats:
    """Collects for `stats`, which is Locust's, until the next `flush`."""

    def __init__(self, stats: Any) -> None:
        self._stats = stats
        self._samples: dict[tuple[str, str], _Sample] = {}

    def add(self, kind: Kind, latency_s: float, size: int, failure: str) -> None:
        """Count a request that has ended; `failure` says why it did not succeed, or is ""."""
        sample = self._samples.get((kind.place, kind.method))
        if sample is None:
            sample = self._samples[kind.place, kind.method] = _Sample()
        sample.times_ms.append(latency_s * 1000)
        sample.size += size
        if failure:
            sample.failures[failure] += 1

    def flush(self) -> None:
        """Hand Locust the collected requests."""
        samples, self._samples = self._samples, {}
        for (name, method), sample in samples.items():
            batch = sample.entry(self._stats, name, method)
            self._stats.entries[name, method].extend(batch)
            self._stats.total.extend(batch)
            for failure, count in sample.failures.items():
                key = StatsError.create_key(method, name, failure)
                error = self._stats.errors.setdefault(key, StatsError(method, name, failure))
                error.occurrences += count - 1
                error.occurred()  # counts one, and sets the times


class _Sample:
    """The requests of one name since the last flush."""

    def __init__(self) -> None:
        self.times_ms: list[float] = []
        self.size = 0
        self.failures: Counter[str] = Counter()

    def entry(self, stats: Any, name: str, method: str) -> Any:
        """The sample as an entry of Locust's, as a worker process would send one to its master."""
        entry: Any = StatsEntry(stats, name, method)
        now, failed = time.time(), self.failures.total()
        entry.last_request_timestamp = now
        entry.num_requests = len(self.times_ms)
        entry.num_failures = failed
        entry.num_reqs_per_sec[int(now)] = entry.num_requests
        if failed:
            entry.num_fail_per_sec[int(now)] = failed
        entry.total_response_time = sum(self.times_ms)
        entry.min_response_time = min(self.times_ms)
        entry.max_response_time = max(self.times_ms)
        for time_ms, times in Counter(map(round, self.times_ms)).items():
            entry.response_times[bucket_response_time(time_ms)] += times
        entry.total_content_length = self.size
        return entry
