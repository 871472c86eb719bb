"""Kill to serving: how long an instance is away, against a bare boot of the very same program.

How it is measured, and how to read it: docs/bench.md.
"""

import random
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

from bench.figures import Table
from bench.usage import instance, started, temporary_folder, tree
from bulkhead import clock, http_probe, proc
from bulkhead.proc import Process
from bulkhead.testing import Stack, free_ports, wait_until

ROUNDS = 9
INSTANCES = 4
# Four instances take turns, so each has lived for longer than any `startsecs` when it is killed.
ROUND_S, SETTLE_S = 3.2, 11.0
BULKHEAD, PLAIN, BARE = "bulkhead", "supervisord and plugin", "bare boot"
VICTIMS = ("Tornado instance", "gunicorn master", "gunicorn worker")
# Without the watchdog nginx has to pick instances by itself.
ALONE = ("stack.watch=false", "proxy.balancer=nginx")

COLUMNS = (
    *("killed", "brought back by", "accepts ms", "answers ms", "new process ms"),
    *("least", "most", "silent ms", "x bare boot"),
)
NOTE = f"a {VICTIMS[2]} is compared with the bare boot of a whole instance: it has none of its own"

# Watching one address from outside.
EVERY_S = 0.001
BUSY_EVERY_S = 0.005  # while somebody answers: to ask more often would slow down the boot
ANSWER_S = 1.0
LONGEST_S = 60.0


class Return(NamedTuple):
    """Seconds since `began` until a connect succeeded, until anybody answered 200, until a process
    that is none of the old ones did; and the longest time without an answer on the way there.
    """

    accepts_s: float
    answers_s: float
    anew_s: float
    silence_s: float


def watch(address: str, began: float, old: Set[int]) -> Return:
    """Connect to `address` again and again until a process answers whose pid is not in `old`.

    RuntimeError if none did within LONGEST_S.
    """
    accepts = answers = last = silence = 0.0
    while clock.now() - began < LONGEST_S:
        connection = HTTPConnection(address, timeout=ANSWER_S)
        try:
            connection.connect()
        except OSError:  # nobody listens: on loopback the kernel says so at once
            clock.pause(EVERY_S)
            continue
        accepts = accepts or clock.now() - began
        answer = http_probe.ask(connection, "/healthz")
        if answer.status == 200 and answer.pid:
            after = clock.now() - began
            answers = answers or after
            silence, last = max(silence, after - last), after
            if answer.pid not in old:
                return Return(accepts, answers, after, silence)
        clock.pause(BUSY_EVERY_S)
    raise RuntimeError(f"{address} was not back within {LONGEST_S:g} s")


def bare(process: Process) -> tuple[list[str], dict[str, str], Path]:
    """How to start the application of a process alone: its command, environment and folder."""
    seen = psutil.Process(process.pid)
    variables = seen.environ()
    if "NOTIFY_SOCKET" in variables:  # it still speaks, to nobody
        variables["NOTIFY_SOCKET"] += ".nobody"
    return seen.cmdline(), variables, Path(seen.cwd())


# By what was killed, and what brought it back.
Found = defaultdict[tuple[str, str], list[Return]]


def measure(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """The table, of at least ROUNDS rounds."""
    rounds = max(ROUNDS, rounds)
    every = [f"services.{name}.instances={INSTANCES}" for name in ("api", "web")]
    with (
        temporary_folder() as folder,
        free_ports() as spare,
        Stack.running(folder / "ours", [*every, *settings]) as ours,
        Stack.running(folder / "plain", [*every, *settings, *ALONE]) as plain,
    ):
        clock.pause(SETTLE_S)
        # Before the first kill: what comes back may inherit sockets, and so be started otherwise.
        names = zip(VICTIMS, ("api-1", "web-1"), strict=False)
        commands = {kind: bare(leader(ours, name)) for kind, name in names}
        samples: Found = defaultdict(list)
        began = clock.now()
        for number in range(rounds):
            turn, other = number % INSTANCES + 1, (number + 2) % INSTANCES + 1
            for by, stack in ((BULKHEAD, ours), (PLAIN, plain)):
                victims = (f"api-{turn}", f"web-{turn}", f"web-{other}")
                for kind, name in zip(VICTIMS, victims, strict=True):
                    back = killed(stack, name, worker=kind == VICTIMS[2])
                    samples[kind, by].append(back)
            for at, kind in enumerate(commands, len(commands) * number):
                command, variables, place = commands[kind]
                variables["BULKHEAD_ADDRESS"] = address = f"127.0.0.1:{spare[at]}"
                booted = clock.now()
                with started(command, folder / "bare.log", variables, place, signal.SIGKILL):
                    samples[kind, BARE].append(watch(address, booted, set()))
            # Not in step with anything that happens once a second.
            jitter = random.Random(number).random()
            clock.pause(max(0.0, began + (number + 1) * ROUND_S - clock.now()) + jitter)
    yield table(samples, rounds)


def leader(stack: Stack, name: str) -> Process:
    """The process that leads an instance, as soon as there is one."""
    return wait_until(f"instance {name}", lambda: instance(stack.supervisord, name))


def killed(stack: Stack, name: str, worker: bool) -> Return:
    """Kill an instance, or one of its workers, and see it come back."""
    victim = led = leader(stack, name)
    address = proc.variable(led, "BULKHEAD_ADDRESS")
    if worker:
        victim = wait_until(f"a worker of {name}", lambda: proc.children(led.pid))[0]
    old = {member.pid for member in tree(led.pid)}
    sent = clock.now()
    assert proc.send(victim, signal.SIGKILL), f"{victim} had gone already"
    wait_until(f"the end of {victim}", lambda: proc.wait_gone(victim, 1))
    return watch(address, sent, old)


def table(returns: Found, rounds: int) -> Table:
    """Medians, and how many bare boots it took until a new process served."""
    made = Table(f"kill to serving, median of {rounds}", COLUMNS)
    for kind in VICTIMS:
        boots = returns.get((kind, BARE)) or returns[VICTIMS[1], BARE]
        for name in (BARE, BULKHEAD, PLAIN):
            if samples := returns.get((kind, name)):
                columns = list(zip(*samples, strict=True))
                *first, silent = (1000 * median(times) for times in columns)
                anew_ms = [1000 * sample.anew_s for sample in samples]
                boot_ms = 1000 * median(sample.anew_s for sample in boots)
                more = (min(anew_ms), max(anew_ms), silent, first[-1] / boot_ms)
                made.rows.append([kind, name, *first, *more])
                details = [sample._asdict() for sample in samples]
                made.details.append({"killed": kind, "brought back by": name, "samples": details})
    made.notes.append(NOTE)
    return made
