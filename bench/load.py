"""The open-loop load: the project's own client as a subprocess, and every row that it wrote.

It sends each request exactly once and measures from the planned moment: a proxy that hangs gets the
same load as one that does not, and the requests that wait because of it count.

`measure` is about the load generators themselves: what they cost, against an nginx that only says
200. The processor time is that of the whole Locust process, its start included. The closed loops
send as fast as they can; the open loop has a schedule that it can hardly keep to. How exactly it
keeps to one is measured at half the rate that it reached. It all needs one core for itself and one
for nginx.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import proxies
from bench.figures import Table, quantile
from bench.usage import temporary_folder
from bulkhead.drill.swarm import BOOT_S, Swarm, environment, verdict
from bulkhead.records import ClientRow, read_rows
from bulkhead.rundir import RunDir
from bulkhead.testing import ROOT, free_ports, wait_until

RATE = 300  # per second: well below what two cores can do, so that only the faults make it late
TIMEOUT_S = 25  # without an answer by then, a request has failed
CONNECTIONS = 5000  # the most in flight: all that a hang of 15 s can keep
MIX = {"get": 70, "post_keyed": 30}  # harmless to repeat, all of it
OPEN = "loadtest/openloop.py"

# The load generators themselves.
RUN_S = 8
USERS = 50
CLOSED = "bench/locustfile.py"
OPEN_RATE = 80_000  # arrivals per second: about as many as it can send, or more


@contextmanager
def open_loop(
    url: str, folder: Path, seconds: float, rate: float = RATE
) -> Iterator[Callable[[], list[ClientRow]]]:
    """Send `rate` requests per second to `url` for `seconds`; it has its first answers by now.

    What is yielded waits for the end of the schedule and of the last request, and returns all rows,
    in no order. `folder` is made for them.
    """
    folder.mkdir()
    out = RunDir(folder)
    asked: dict[str, object] = {"rate": rate, "load_s": seconds, "mix": MIX}
    asked |= {"request_timeout_s": TIMEOUT_S, "connections": CONNECTIONS}
    options = ["--headless", "--only-summary", "--users", "1", "--host", url]
    with Swarm(OPEN, options, asked, 1, ROOT, out) as swarm:
        swarm.start()

        def finish() -> list[ClientRow]:
            assert swarm.wait(seconds + TIMEOUT_S + BOOT_S), "the load does not end"
            code = swarm.finish()
            assert code == 0, "\n".join(
                [f"the load ended with exit code {code}:", *verdict(out.locust_log)]
            )
            return list(read_rows(out.client_rows, ClientRow))

        rows = out.client_rows
        wait_until("the first row", lambda: rows.exists() and rows.stat().st_size > 0, BOOT_S)
        yield finish


def measure() -> Iterator[Table]:
    """The cost of the load generators, and how exactly the open loop keeps to a schedule."""
    table = Table(
        "load generators, requests per second of processor time",
        ("generator", "requests", "CPU s", "per CPU s", "of FastHttpUser"),
    )
    with (
        temporary_folder() as folder,
        free_ports() as (port, *_),
        proxies.supervised(folder / "nginx", [port], 1, "bench.fast"),  # one worker
    ):
        url = f"http://127.0.0.1:{port}"
        rows = folder / "client.jsonl"
        none, all_rows = {"rows": ""}, {"rows": str(rows)}
        users = f"-u {USERS} -r {USERS} -t {RUN_S}s -s 5".split()
        schedule = {"rate": OPEN_RATE, "load_s": RUN_S, "connections": USERS, "mix": {"page": 1}}
        runs: dict[str, Sequence[Any]] = {
            "FastHttpUser of Locust": (CLOSED, none, "Plain", *users),
            "OnceUser without rows": (CLOSED, none, "Once", *users),
            "OnceUser with all rows": (CLOSED, all_rows, "Once", *users),
            "open loop without rows": (OPEN, none | schedule),
            "open loop with all rows": (OPEN, all_rows | schedule),
        }
        plain, sent = 0.0, 0
        for generator, run in runs.items():
            rows.unlink(missing_ok=True)
            sent, cpu_s = _carried_out(url, *run)
            plain = plain or sent / cpu_s
            table.rows.append([generator, sent, cpu_s, sent / cpu_s, sent / cpu_s / plain])
        rows.unlink()
        half = round(sent / RUN_S / 2)
        _carried_out(url, OPEN, all_rows | schedule | {"rate": half})
        late = sorted(row.sent - row.planned for row in read_rows(rows, ClientRow) if row.sent)
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    shown = [f"{name} {1000 * quantile(late, share):.2f} ms" for name, share in shares.items()]
    table.notes.append(f"open loop at {half:,} /s: sent late by {', '.join(shown)}")
    yield table


def _carried_out(
    url: str, locustfile: str, asked: Mapping[str, object], *options: str
) -> tuple[int, float]:
    """How many requests of a Locust were answered as expected, and its CPU-seconds.

    An arrival of the open loop that found no connection in time counts as failed, and costs a row
    all the same.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with temporary_folder() as home:
        settings = home / "settings.json"
        settings.write_text(json.dumps(asked))
        command = [sys.executable, "-m", "locust", "-f", str(ROOT / locustfile), "--host", url]
        said = subprocess.check_output(
            [*command, "--headless", "--only-summary", "--json", *options],
            cwd=home,
            env=environment(ROOT, home) | {"BULKHEAD_LOAD_SETTINGS": str(settings)},
            stderr=subprocess.DEVNULL,
        )
    sent = sum(entry["num_requests"] - entry["num_failures"] for entry in json.loads(said))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sent, sum(after[:2]) - sum(before[:2])
