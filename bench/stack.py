"""One stack by itself: its commands, its size, its idle cost, and what a roll costs clients."""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from statistics import median

import psutil

from bench.cost import in_turn, wrk
from bench.figures import Cell, Table, figures, finite, shown
from bench.load import open_loop
from bench.proxies import WHOAMI
from bench.usage import SMALL, cpu_s, programs, pss_mb, temporary_stack, tree, wake_ups
from bulkhead import clock
from bulkhead.render.supervisor import WATCH
from bulkhead.testing import Stack

# Commands, and requests per second.
RATE_S, CONNECTIONS = 3, 32
VERBS = ("up", "up, when it is up", "status", "reload", "down")
# From 1 instance to 64.
SIZES = (1, 2, 4, 8, 16, 32, 64)
RELOADS = 3
PATIENCE = ("services.api.boot_s=60",)
# Idle.
SETTLE_S, IDLE_S = 3.0, 10.0
# A roll under load.
ROLLED = 8
SHARE = 0.6  # of the capacity
KNOWN_RATE, LEARN_S = 250, 5.0
WARM_S, BEFORE_S = 3.0, 10.0
ROLL_COLUMNS = (
    *("round", "capacity/s", "rate/s", "roll s", "sent", "failed", "p99 before ms"),
    *("p99 during ms", "worst ms", "p99 during / before"),
)


def timed(stack: Stack, verb: str) -> float:
    """Seconds that one command takes, the start of its Python included."""
    began = clock.now()
    stack.bulkhead(verb)
    return clock.now() - began


def measure_commands(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """How long the commands take, and how many requests per second a stack carries."""
    with temporary_stack(*settings) as stack:
        stack.bulkhead("down")
        verbs = {name: partial(timed, stack, name.partition(",")[0]) for name in VERBS}
        times = Table(f"time of a command, median of {rounds}", ["command", "s"])
        for name, seconds in in_turn(rounds, verbs).items():
            times.rows.append([name, median(seconds)])
        yield times
        stack.bulkhead("up")
        instances = [f"http://127.0.0.1:{port}{WHOAMI}" for port in stack.ports[1:5]]
        urls = {
            "one instance directly": instances[:1],
            "all four instances directly": instances,
            "through nginx, to all four": [stack.url + WHOAMI],
            "nginx alone (a static file)": [stack.url + "/robots.txt"],
        }
        loads = {name: partial(wrk, each, CONNECTIONS, RATE_S) for name, each in urls.items()}
        found = in_turn(rounds, loads)
    table = Table(
        f"requests per second, median of {rounds} x {RATE_S} s, {CONNECTIONS} connections",
        ["what", "per s", "least", "most", "of all four directly"],
    )
    base = median(rate.per_s for rate in found["all four instances directly"])
    for name, each in found.items():
        rates = [rate.per_s for rate in each]
        middle = median(rates)
        table.rows.append([name, middle, min(rates), max(rates), middle / base])
    yield table


def measure_instances(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """From 1 instance to 64: how long until all are ready, the memory, how long a reload takes.

    With several rounds, each size is brought up so often.
    """
    table = Table(
        f"Tornado instances beside one gunicorn: up (median of {rounds}), memory, "
        f"reload (median of {RELOADS})",
        ["instances", "up to ready s", "PSS MB", "of an instance", "reload s"],
    )
    alone = 0.0
    for size in SIZES:
        own = f"services.api.instances={size}"
        ups = []
        with temporary_stack(own, *SMALL, *PATIENCE, *settings) as stack:
            for _ in range(rounds):
                stack.bulkhead("down")
                ups.append(timed(stack, "up"))
            memory = pss_mb(tree(stack.supervisord))
            reload = median(timed(stack, "reload") for _ in range(RELOADS))
        each: Cell = (memory - alone) / (size - 1) if alone else "-"
        alone = alone or memory
        table.rows.append([size, median(ups), memory, each, reload])
        print(f"  instances: {size} instances, up in {median(ups):.2f} s", flush=True)
    table.notes.append(
        "PSS: a page that several processes share counts once. `of an instance`: what each one "
        "after the first adds. Commands include the start of their Python."
    )
    yield table


def measure_idle(settings: Sequence[str]) -> Iterator[Table]:
    """The cost of a stack while nobody asks it anything."""
    table = Table(f"idle, over {IDLE_S:g} s", ["process", "CPU %", "wake-ups/s", "PSS MB"])
    with temporary_stack(*settings) as stack:
        clock.pause(SETTLE_S)
        groups = {"supervisord": [psutil.Process(stack.supervisord)], **programs(stack)}
        before = {name: (cpu_s(group), wake_ups(group)) for name, group in groups.items()}
        began = clock.now()
        clock.pause(IDLE_S)
        took = clock.now() - began
        for name, group in groups.items():
            cpu_before, wakes_before = before[name]
            shares = [100 * (cpu_s(group) - cpu_before), wake_ups(group) - wakes_before]
            shown_as = "watchdog" if name == WATCH else name
            table.rows.append([shown_as, *(share / took for share in shares), pss_mb(group)])
    table.notes.append("processor time is counted in steps of 10 ms: 0.1 % of one core here")
    yield table


def measure_roll(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """A roll as clients notice it: eight Tornado instances, at 60 % of what this machine can do.

    What it can do is measured right before each round, by the processor time that a known rate
    takes: load, stack and kernel together, for they share the processors.
    """
    table = Table(f"roll of {ROLLED} instances at {100 * SHARE:g} % of capacity", ROLL_COLUMNS)
    ratios = []
    with temporary_stack(f"services.api.instances={ROLLED}", *settings) as stack:
        for number in range(1, rounds + 1):
            folder = stack.home.path.parent
            learning = WARM_S + LEARN_S + 1
            with open_loop(stack.url, folder / f"learn-{number}", learning, KNOWN_RATE) as finish:
                clock.pause(WARM_S)
                capacity = KNOWN_RATE / (psutil.cpu_percent(LEARN_S) / 100)
                finish()
            rate, seconds = SHARE * capacity, WARM_S + BEFORE_S + 30
            with open_loop(stack.url, folder / f"roll-{number}", seconds, rate) as finish:
                clock.pause(WARM_S)
                calm = clock.now()
                clock.pause(BEFORE_S)
                began = clock.now()
                stack.bulkhead("roll", "api", session=True)  # as docs/operations.md advises
                ended = clock.now()
                sent = finish()
            before, during = figures(sent, [(calm, began)]), figures(sent, [(began, ended)])
            ratio = math.inf  # when the p99 of either is never
            if before.p99_ms and during.p99_ms:
                ratio = during.p99_ms / before.p99_ms
            ratios.append(ratio)
            cells = (number, capacity, rate, ended - began, during.sent)
            failed = before.failed + during.failed
            times = (before.p99_ms, during.p99_ms, during.worst_ms, finite(ratio))
            table.rows.append([*cells, failed, *times])
    table.notes.append(f"median of p99 during / before: {shown(finite(median(ratios)))}")
    yield table
