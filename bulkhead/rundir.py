"""A run folder: where one run's evidence goes, and what must be known to repeat it."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from bulkhead.clock import now, stamp, wall, wall_offset

# Of the files of a run folder. 2: rows and events have the words of docs/glossary.md.
FORMAT = 2
PACKAGES = ("bulkhead", "locust", "tornado", "gunicorn", "gevent", "flask", "supervisor")


class RunDir:
    """The folder of one run. Every file in it has its one name here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.client_rows = path / "client.jsonl"
        self.proxy_rows = path / "proxy.jsonl"
        self.service_rows = path / "service.jsonl"
        self.watch_rows = path / "watch.jsonl"
        self.events = path / "events.jsonl"
        self.effects = path / "effects.jsonl"
        self.entries = path / "entries.jsonl"
        self.drill_json = path / "drill.json"
        self.account = path / "account.duckdb"
        self.verdict_json = path / "verdict.json"
        self.report_html = path / "report.html"
        self.log = path / "log"
        self.run_json = path / "run.json"
        self.summary_json = path / "summary.json"
        self.locust_html = path / "locust.html"
        self.locust_log = path / "locust.log"
        self.locust_port = path / "locust.port"
        self.locust_settings = path / "locust.json"

    def worker_rows(self, worker: int | str) -> Path:
        """The rows of one of a load's workers, until they are merged into `client_rows`."""
        return self.client_rows.with_stem(f"client-{worker}")

    def worker_end(self, worker: int) -> Path:
        """The file that says that all rows of that worker are there (records.RowsEnd)."""
        rows = self.worker_rows(worker)
        return rows.with_name(f"{rows.name}.end")

    def worker_log(self, worker: int) -> Path:
        """The output of that worker."""
        return self.locust_log.with_stem(f"locust-{worker}")

    def worker_settings(self, worker: int) -> Path:
        """The settings of that worker (loadtest/settings.py)."""
        return self.locust_settings.with_stem(f"locust-{worker}")


def create(runs: Path, name: str) -> RunDir:
    """Make `runs/<time>-<name>`; never one that is there already."""
    first = runs / f"{stamp()}-{name}"
    path, number = first, 1
    while True:
        try:
            path.mkdir(parents=True)
            return RunDir(path)
        except FileExistsError:
            number += 1
            path = first.with_name(f"{first.name}-{number}")


def format_of(run: RunDir) -> int:
    """The format of a run folder: 1 when a readable run.json does not say."""
    try:
        facts = json.loads(run.run_json.read_text())
    except (OSError, ValueError):
        return FORMAT  # the account says what is wrong with it
    return facts.get("format", 1) if isinstance(facts, dict) else FORMAT


def write_provenance(run: RunDir, configuration: dict[str, object], nginx: str) -> None:
    """run.json: versions, command line, git state, machine, configuration, and the two clocks."""
    facts = {
        "format": FORMAT,
        "started": wall(),
        "monotonic": now(),
        "wall_minus_monotonic": wall_offset(),
        "argv": sys.argv,
        "git": _git(),
        "machine": {
            "cores": len(os.sched_getaffinity(0)),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "nginx": _output([nginx, "-v"]).removeprefix("nginx version: "),
        },
        "packages": {name: version(name) for name in PACKAGES},
        "configuration": configuration,
    }
    run.run_json.write_text(json.dumps(facts, indent=2) + "\n")


def add_instances(run: RunDir, addresses: Mapping[str, tuple[str, str]]) -> None:
    """Add to run.json who had which address: (name, service) of an instance by its address.

    For a stack on several hosts, whose topology does not tell.
    """
    facts = json.loads(run.run_json.read_text())
    facts["instances"] = [[address, *who] for address, who in sorted(addresses.items())]
    run.run_json.write_text(json.dumps(facts, indent=2) + "\n")


def _git() -> dict[str, object]:
    """The checkout's commit and whether it has changes; empty outside a checkout."""
    head = _output(["git", "rev-parse", "HEAD"])
    return {"head": head, "dirty": bool(_output(["git", "status", "--porcelain"]))} if head else {}


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip() if done.returncode == 0 else ""
