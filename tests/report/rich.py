"""A run with something of everything: kills, a hang, moved requests, failures of several causes.

It is made by hand from a seed, so every test of a report knows what must be in it.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bulkhead.judge.verdict import Check, Verdict
from bulkhead.rundir import RunDir
from tests.support.runs import OFFSET, Failed, MadeRun

HOSTILE = "/api/v1/entries?q=<script>document.documentElement.dataset.owned=1</script>\x1b[31m"
START = 100.0
API = ("api-1", "api-2", "api-3", "api-4")
WEB = ("web-1", "web-2")
DEAD_S = 0.35
HANG = (136.0, 140.0)  # api-2 is stopped; the proxy retries after 1 s
REFUSED = (146.0, 146.25)  # nobody is left to try


class Storm:
    """60 s: 3 s warm-up, 12 s baseline, 33 s of faults, 12 s recovery."""

    def __init__(self, path: Path, rate: float = 400.0) -> None:
        self.random = random.Random(7)
        self.rate = rate
        self.made = MadeRun(path)
        self.kills = [
            (115.0 + 1.5 * number, API[number % 4] if number % 3 else WEB[number % 2])
            for number in range(13)
        ]
        self.number = 0

    def write(self) -> RunDir:
        """The folder, without an account."""
        self._events()
        at = START
        while (at := at + self.random.expovariate(self.rate)) < START + 60:
            self.number += 1
            self._arrival(f"t-{self.number}", at)
        self.made.drill |= DRILL | {"load": DRILL["load"] | {"rate": self.rate}}
        run = self.made.write()
        facts = json.loads(run.run_json.read_text())
        run.run_json.write_text(json.dumps(facts | FACTS))
        write_verdict(run, VERDICT)
        return run

    def _events(self) -> None:
        self.made.phases(START, 103.0, 115.0, 148.0, 160.0)
        for instance in (*API, *WEB):
            self.made.state(instance, START, "up")
        for n, (at, instance) in enumerate(self.kills, 1):
            self.made.injection(n, "kill", instance, at, healed=DEAD_S)
            self.made.state(instance, at, "dead")
            self.made.state(instance, at + DEAD_S, "up")
        began, ended = HANG
        self.made.injection(
            14,
            "hang",
            "api-2",
            began,
            confirmed=0.01,
            heal=ended - began,
            healed=ended - began + 0.02,
        )
        self.made.state("api-2", began, "stopped")
        self.made.state("api-2", ended, "up")
        self.made.watch(began + 0.6, "crashing", "api-2", "3 times")
        self.made.watch(ended, "ready", "api-2", "pid 8302")
        self.made.injection(
            15, "nginx_worker", "nginx", 142.0, confirmed=None, heal=None, healed=None,
            failed="no worker took its place",
        )  # fmt: skip

    def _arrival(self, id: str, at: float) -> None:
        kind = self.random.choices(
            ("read", "create", "replace", "post", "page"), (60, 15, 12, 5, 8)
        )[0]
        pool = WEB if kind == "page" else API
        up = [one for one in pool if not self._dead(one, at)]
        instance = self.random.choice(up)
        took = 0.002 * self.random.lognormvariate(0.6, 0.55)
        if REFUSED[0] <= at < REFUSED[1]:
            self._nobody(id, at)
        elif kind == "page":
            self._page(id, at, instance, took + 0.004)
        elif self._hangs(instance, at) and self.random.random() < 0.25:
            other = self.random.choice([one for one in up if one != instance])
            effect = "create" if kind == "post" else kind
            self._moved(id, at, [Failed(instance, "timeout", 1.0)], other, took, effect)
        elif died := self._dies(at):
            self._killed(id, at, died, instance, took, kind)
        elif kind == "post":
            self.made.request(id, at, took=took, instance=instance, effect="create", key="")
        else:
            self._good(id, at, instance, took, kind)

    def _good(self, id: str, at: float, instance: str, took: float, kind: Any) -> None:
        late = 0.4 if 130.0 < at < 130.2 else 0.0
        target = {"target": HOSTILE} if self.number == 2 else {}
        if self.number % 9000 == 77:
            gone = {"status": 0, "error": "timeout", "done": at + 12.0, "instance": "", "boot": ""}
            left = {"status": 499, "statuses": "-", "header": "-", "response": "12.0"}
            left |= {"took": 12.0, "ended": OFFSET + at + 12.0, "complete": ""}
            self.made.request(
                id, at, instance=instance, effect=kind, client=gone, proxy=left, end=None
            )
        else:
            sent = {"sent": at + late, "done": at + late + took}
            self.made.request(
                id, at + late, took=took, instance=instance, effect=kind,
                client={"planned": at} | sent | target,
            )  # fmt: skip

    def _moved(
        self, id: str, at: float, failed: Sequence[Failed], instance: str, took: float, effect: Any
    ) -> None:
        self.made.request(id, at, took=took, instance=instance, effect=effect, failed=failed)
        if failed[0].how == "died":
            self.made.begin(id, t=at + 0.001, instance=failed[0].instance)

    def _killed(self, id: str, at: float, died: str, instance: str, took: float, kind: str) -> None:
        if kind == "post":
            lists = {
                "addrs": "127.0.0.1:8101", "statuses": "502", "connect": "0.000",
                "header": "-", "response": "0.020", "status": 502, "instance": "", "boot": "",
            }  # fmt: skip
            self.made.request(
                id, at, took=0.02, instance="api-1", effect="create", key="", applied=None,
                end=None, client={"status": 502, "instance": "proxy", "boot": ""}, proxy=lists,
            )  # fmt: skip
        else:
            self._moved(id, at, [Failed(died, "died", 0.02)], instance, took, kind)

    def _nobody(self, id: str, at: float) -> None:
        lists = {
            "addrs": ", ".join(f"127.0.0.1:810{n}" for n in (1, 2, 3, 4)),
            "statuses": "502, 502, 502, 502",
            "connect": "-, -, -, -",
            "header": "-, -, -, -",
            "response": "0.000, 0.001, 0.000, 0.000",
            "status": 502,
            "instance": "proxy",
            "boot": "",
        }
        self.made.request(
            id, at, took=0.002, begin=None,
            client={"status": 502, "instance": "proxy", "boot": ""}, proxy=lists,
        )  # fmt: skip

    def _page(self, id: str, at: float, instance: str, took: float) -> None:
        """web asks api on the client's behalf."""
        asked = {"name": "GET /", "target": "/"}
        self.made.request(
            id, at, took=took, instance=instance,
            client=asked, proxy={"target": "/"}, begin={"target": "/"},
        )  # fmt: skip
        api = self.random.choice([one for one in API if not self._dead(one, at)])
        self.made.request(f"{id}.1", at + 0.3 * took, took=0.3 * took, instance=api, client=None)

    def _dead(self, instance: str, at: float) -> bool:
        return any(one == instance and t <= at < t + DEAD_S for t, one in self.kills)

    def _dies(self, at: float) -> str:
        """The api instance that is killed within 20 ms."""
        return next((one for t, one in self.kills if t - 0.02 <= at < t and one in API), "")

    def _hangs(self, instance: str, at: float) -> bool:
        return instance == "api-2" and HANG[0] <= at < HANG[1] - 1


def write_verdict(run: RunDir, verdict: Verdict) -> None:
    """verdict.json, as the judge leaves it."""
    run.verdict_json.write_text(json.dumps(asdict(verdict)))


DRILL: dict[str, Any] = {
    "name": "kill-storm",
    "title": "A storm of kills, and one hang",
    "story": "Every 1.5 s an instance is killed; then api-2 hangs for 4 s.\n"
    "A client that uses keys should notice nothing but some latency.",
    "seed": 7,
    "predicts": "PASS",
    "load": {
        "rate": 400.0,
        "arrivals": "poisson",
        "mix": {"get": 60, "post_keyed": 15, "put": 12, "post": 5, "page": 8},
        "timeout_s": 12.0,
        "connections": 500,
    },
    "phases": {"warmup_s": 3.0, "baseline_s": 12.0, "faults_s": 33.0, "recovery_s": 12.0},
    "expect": {"failed_retryable": 0, "recovery_s": 1.5, "p99_faults_ms": 2000.0},
}
FACTS: dict[str, Any] = {
    "started": 1_790_000_100.0,
    "monotonic": 100.0,
    "argv": ["/srv/bulkhead/.venv/bin/bulkhead", "drill", "kill-storm", "--seed", "7"],
    "git": {"head": "b9da826c0ffee0000000000000000000000000ab", "dirty": True},
    "machine": {"cores": 2, "kernel": "6.1.0", "python": "3.11.7", "nginx": "nginx/1.22.1"},
    "packages": {"bulkhead": "0.1.0", "locust": "2.46.0", "tornado": "6.5.5"},
}
VERDICT = Verdict(
    "FAIL",
    (
        Check("accounted", "PASS", "0 unaccounted", "none"),
        Check("sent_once", "PASS", "0 requests sent more than once", "none"),
        Check("nothing_lost", "PASS", "0 writes lost", "none"),
        Check("nothing_doubled", "PASS", "0 effects applied again", "none"),
        Check("explained", "PASS", "0 requests without an explanation", "none"),
        Check(
            "failed_retryable", "FAIL", "106", "at most 0",
            "106 retryable requests failed: refused_everywhere x 104, client_timeout x 2",
            106, ("t-77", "t-2", "no-such-<b>id</b>"),
        ),
        Check(
            "injected", "INVALID", "14 of 15", "all",
            "injection 15 (nginx_worker of nginx) failed: no worker took its place", 1, ("15",),
        ),
        Check("recovery_s", "PASS", "0.35 s", "at most 1.5 s"),
        Check("p99_faults_ms", "PASS", "1,002.1 ms", "at most 2,000 ms"),
        Check("unacknowledged", "INFO", "0 writes applied without their client being told", "none"),
    ),
    {
        "requests": 24_000, "answered": 23_890, "failed": 106, "indeterminate": 4, "not_sent": 0,
        "retried": 212, "lost": 0, "doubled": 0, "unacknowledged": 0, "unexplained": 0,
        "delayed": 96,
        "rate_per_s": 400.2, "p50_baseline_ms": 3.6, "p99_baseline_ms": 13.2,
        "p99_faults_ms": 1002.1, "max_faults_ms": 1018.0, "p99_recovery_ms": 13.1,
        "recovery_s": 0.35, "settle_s": 0.0,
        "injections": 15, "confirmed": 14, "late_p99_ms": 0.4,
    },
)  # fmt: skip
