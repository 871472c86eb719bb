"""From 1 instance to 64: how long until all are ready, how much memory, how long a reload takes."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from bench.commands import timed
from bench.ports import free_block
from bench.processes import pss_mb
from bench.tables import Table
from bulkhead.control import record
from bulkhead.control.process import Process
from tests.support.stack import Stack, new_stack

SIZES = (1, 2, 4, 8, 16, 32, 64)
RELOADS = 3
SMALL = ("services.web.instances=1", "services.web.workers=1")
PATIENCE = ("services.api.boot_s=60",)
COLUMNS = ("instances", "up to ready s", "PSS MB", "of an instance", "reload s")


def measure(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """The table; with several rounds, each size is brought up so often."""
    table = Table(
        f"Tornado instances beside one gunicorn: up (median of {rounds}), memory, "
        f"reload (median of {RELOADS})",
        COLUMNS,
    )
    alone = 0.0
    for size in SIZES:
        up, memory, reload = measured(size, rounds, settings)
        each = (memory - alone) / (size - 1) if alone else None
        alone = alone or memory
        table.rows.append([size, up, memory, "-" if each is None else each, reload])
        print(f"  instances: {size} instances, up in {up:.2f} s", flush=True)
    table.notes.append(
        "PSS: a page that several processes share counts once. `of an instance`: what each one "
        "after the first adds. Commands include the start of their Python."
    )
    yield table


def measured(size: int, rounds: int, settings: Sequence[str]) -> tuple[float, float, float]:
    """Seconds of up, MB, and seconds of a reload, of a stack of `size` Tornado instances."""
    ups = []
    with tempfile.TemporaryDirectory() as folder, free_block() as ports:
        mine = [f"services.api.instances={size}", f"services.api.port={ports[0]}"]
        with new_stack(Path(folder) / "home", [*mine, *SMALL, *PATIENCE, *settings]) as stack:
            for _ in range(rounds):
                stack.bulkhead("down")
                ups.append(timed(stack, "up"))
            memory = pss_mb(members(stack))
            reload = median(timed(stack, "reload") for _ in range(RELOADS))
    return median(ups), memory, reload


def members(stack: Stack) -> list[Process]:
    """Every process of a stack that is up."""
    return record.require(stack.home).members()
