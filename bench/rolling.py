"""What clients notice of a roll: eight Tornado instances, at 60 % of what this machine can do.

What it can do is measured right before each round, by the processor time that a known rate takes:
load, stack and kernel together, for they share the processors.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import psutil

from bench.figures import Figures, figures
from bench.load import open_loop
from bench.tables import Table, shown
from bulkhead import clock
from tests.support.stack import Stack, running_stack

INSTANCES = 8
SHARE = 0.6  # of the capacity
KNOWN_RATE, LEARN_S = 250, 5.0
WARM_S, BEFORE_S = 3.0, 10.0
COLUMNS = (
    *("round", "capacity/s", "rate/s", "roll s", "sent", "failed", "p99 before ms"),
    *("p99 during ms", "worst ms", "p99 during / before"),
)


def measure(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """The table, a row a round."""
    table = Table(f"roll of {INSTANCES} instances at {100 * SHARE:g} % of capacity", COLUMNS)
    ratios = []
    own = [f"services.api.instances={INSTANCES}", *settings]
    with tempfile.TemporaryDirectory() as name, running_stack(Path(name) / "home", own) as stack:
        for number in range(1, rounds + 1):
            capacity = learn(stack, Path(name) / f"learn-{number}.jsonl")
            took, before, during = roll(
                stack, Path(name) / f"roll-{number}.jsonl", SHARE * capacity
            )
            ratio = None  # there is none when the p99 of either is never
            if before.p99_ms and during.p99_ms:
                ratio = during.p99_ms / before.p99_ms
            ratios.append(math.inf if ratio is None else ratio)
            failed = before.failed + during.failed
            table.rows.append(
                [
                    *(number, capacity, SHARE * capacity, took, during.sent, failed),
                    *(before.p99_ms, during.p99_ms, during.worst_ms, ratio),
                ]
            )
    middle = median(ratios)
    told = shown(middle if math.isfinite(middle) else None)
    table.notes.append(f"median of p99 during / before: {told}")
    yield table


def learn(stack: Stack, rows: Path) -> float:
    """The requests per second that would keep all processors busy, by how busy a few keep them."""
    with open_loop(stack.url, rows, WARM_S + LEARN_S + 1, KNOWN_RATE) as load:
        load.wait_until_under_way()
        clock.pause(WARM_S)
        psutil.cpu_percent()
        clock.pause(LEARN_S)
        busy = psutil.cpu_percent() / 100
        load.finish()
    return KNOWN_RATE / busy


def roll(stack: Stack, rows: Path, rate: float) -> tuple[float, Figures, Figures]:
    """How long a roll took, and what clients got before and during it."""
    with open_loop(stack.url, rows, WARM_S + BEFORE_S + 30, rate) as load:
        load.wait_until_under_way()
        clock.pause(WARM_S)
        calm = clock.now()
        clock.pause(BEFORE_S)
        began = clock.now()
        stack.bulkhead("roll", "api", session=True)  # as docs/operations.md advises
        ended = clock.now()
        sent = load.finish()
    return ended - began, figures(sent, [(calm, began)]), figures(sent, [(began, ended)])
