"""How long the commands take, and how many requests per second a stack carries."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from bench.tables import Table
from bench.wrk import wrk
from tests.support.stack import Stack, new_stack

SECONDS, CONNECTIONS = 3, 32
TARGET = "/api/v1/whoami"
VERBS = ("up", "up, when it is up", "status", "reload", "down")


def measure(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """Both tables, of one stack on free ports."""
    with (
        tempfile.TemporaryDirectory() as folder,
        new_stack(Path(folder) / "home", settings) as stack,
    ):
        yield _times(stack, rounds)
        stack.bulkhead("up")
        yield _rates(stack, rounds)


def timed(stack: Stack, verb: str) -> float:
    """Seconds that one command takes, the start of its Python included."""
    began = time.monotonic()
    stack.bulkhead(verb)
    return time.monotonic() - began


def _times(stack: Stack, rounds: int) -> Table:
    table = Table(f"time of a command, median of {rounds}", ["command", "s"])
    samples = [[timed(stack, verb.partition(",")[0]) for verb in VERBS] for _ in range(rounds)]
    for verb, found in zip(VERBS, zip(*samples, strict=True), strict=True):
        table.rows.append([verb, median(found)])
    return table


def _rates(stack: Stack, rounds: int) -> Table:
    """Every row is measured in turn, round after round, so that drift meets all of them alike."""
    instances = [f"http://127.0.0.1:{port}{TARGET}" for port in stack.ports[1:5]]
    rows = {
        "one instance directly": instances[:1],
        "all four instances directly": instances,
        "through nginx, to all four": [stack.url + TARGET],
        "nginx alone (a static file)": [stack.url + "/robots.txt"],
    }
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, urls in rows.items():
            found[name].append(wrk(urls, CONNECTIONS, SECONDS).per_s)
    base = median(found["all four instances directly"])
    table = Table(
        f"requests per second, median of {rounds} x {SECONDS} s, {CONNECTIONS} connections",
        ["what", "per s", "least", "most", "of all four directly"],
    )
    for name, rates in found.items():
        middle = median(rates)
        table.rows.append([name, middle, min(rates), max(rates), middle / base])
    return table
