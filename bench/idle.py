"""What the stack itself costs while nobody asks it anything."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.processes import cpu_s, pss_mb, tree, wake_ups
from bench.tables import Table
from bulkhead import clock
from bulkhead.control import process
from bulkhead.control.process import Process
from tests.support.stack import Stack, running_stack

SETTLE_S, SECONDS = 3.0, 10.0


def measure(_rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """The table, of one stack as it is."""
    table = Table(f"idle, over {SECONDS:g} s", ["process", "CPU %", "wake-ups/s", "PSS MB"])
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stack(Path(folder) / "home", settings) as stack,
    ):
        clock.pause(SETTLE_S)
        groups = programs(stack)
        before = {name: used(members) for name, members in groups.items()}
        began = clock.now()
        clock.pause(SECONDS)
        took = clock.now() - began
        for name, members in groups.items():
            cpu, wakes = used(members)
            cpu_before, wakes_before = before[name]
            shares = [100 * (cpu - cpu_before) / took, (wakes - wakes_before) / took]
            table.rows.append([name, *shares, pss_mb(members)])
    table.notes.append("processor time is counted in steps of 10 ms: 0.1 % of one core here")
    yield table


def used(members: Sequence[Process]) -> tuple[float, float]:
    """Seconds of processor time and wake-ups so far."""
    return cpu_s(members), float(sum(map(wake_ups, members)))


def programs(stack: Stack) -> dict[str, list[Process]]:
    """supervisord, and each program that it runs with its children, by name."""
    pid = int((stack.home.run / "supervisord.pid").read_text())
    supervisord = process.find(pid)
    assert supervisord, "supervisord has gone"
    return {"supervisord": [supervisord]} | {
        name_of(one): tree(one) for one in process.children(pid)
    }


def name_of(one: Process) -> str:
    """The instance's name; of what is none, what its command line says."""
    instance = process.variable(one, "BULKHEAD_INSTANCE")
    if instance:
        return instance
    title = process.title(one)
    return "watchdog" if "bulkhead.watch" in title else title.partition(":")[0].split("/")[-1]
