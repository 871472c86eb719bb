"""Kill to serving: how long an instance is away, against a bare boot of the very same program.

Watched from outside by connecting: whoever asks supervisord something makes it quicker. Each round
kills a Tornado instance, a gunicorn master and a gunicorn worker in two whole stacks: one as it is,
and one with `stack.watch=false`, where supervisord is by itself. Between these, the same command in
the same environment is started by hand at another port.
"""

import os
import random
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from bench import probe, programs
from bench.ports import free_block
from bench.probe import Return
from bench.processes import instance, kill, started, tree
from bench.tables import Table
from bulkhead import clock
from bulkhead.control import process
from tests.support.stack import Stack, running_stack
from tests.support.waiting import wait_until

ROUNDS = 9
INSTANCES = 4
# Four instances take turns, so each has lived for longer than any `startsecs` when it is killed.
ROUND_S, SETTLE_S = 3.2, 11.0
BULKHEAD, PLAIN, BARE = "bulkhead", "supervisord alone", "bare boot"
VICTIMS = ("Tornado instance", "gunicorn master", "gunicorn worker")
# Without the watchdog nginx has to pick instances by itself.
ALONE = ("stack.watch=false", "proxy.balancer=nginx")

COLUMNS = (
    *("killed", "brought back by", "accepts ms", "answers ms", "new process ms"),
    *("least", "most", "silent ms", "x bare boot"),
)
NOTE = f"a {VICTIMS[2]} is compared with the bare boot of a whole instance: it has none of its own"

Found = dict[tuple[str, str], list[Return]]


def measure(rounds: int, settings: Sequence[str]) -> Iterator[Table]:
    """The table, of at least ROUNDS rounds."""
    rounds = max(ROUNDS, rounds)
    every = [f"services.{name}.instances={INSTANCES}" for name in ("api", "web")]
    with tempfile.TemporaryDirectory() as name, free_block() as spare:
        folder = Path(name)
        with (
            running_stack(folder / "ours", [*every, *settings]) as ours,
            running_stack(folder / "plain", [*every, *settings, *ALONE]) as plain,
        ):
            clock.pause(SETTLE_S)
            found: Found = {}
            began = clock.now()
            for number in range(rounds):
                one_round(found, number, {BULKHEAD: ours, PLAIN: plain}, spare, folder)
                # Not in step with supervisord's loop, which turns once a second.
                jitter = random.Random(number).random()
                clock.pause(max(0.0, began + (number + 1) * ROUND_S - clock.now()) + jitter)
    yield table(found, rounds)


def one_round(
    found: Found, number: int, stacks: dict[str, Stack], spare: Sequence[int], folder: Path
) -> None:
    """Every kill once, and both bare boots."""
    turn, other = number % INSTANCES + 1, (number + 2) % INSTANCES + 1
    for name, stack in stacks.items():
        kills = zip(VICTIMS, (f"api-{turn}", f"web-{turn}", f"web-{other}"), strict=True)
        for what, victim in kills:
            back = killed(stack, victim, worker=what == VICTIMS[2])
            found.setdefault((what, name), []).append(back)
    conf = programs.commands(stacks[BULKHEAD].home.supervisord_conf)
    for what, victim in zip(VICTIMS, (f"api-{turn}", f"web-{turn}"), strict=False):
        port = spare[number * len(VICTIMS) + VICTIMS.index(what)]
        command = conf[victim].bare(f"127.0.0.1:{port}")
        found.setdefault((what, BARE), []).append(booted(command, folder / "bare.log"))


def killed(stack: Stack, name: str, worker: bool) -> Return:
    """Kill an instance, or one of its workers, and see it come back."""
    supervisord = int((stack.home.run / "supervisord.pid").read_text())
    leader = wait_until(f"instance {name}", lambda: instance(supervisord, name))
    victim, address = leader, process.variable(leader, "BULKHEAD_ADDRESS")
    if worker:
        victim = wait_until(f"a worker of {name}", lambda: process.children(leader.pid))[0]
    old = {f"{one.pid}.{one.start_ticks}" for one in tree(leader)}
    return probe.watch(address, kill(victim), old)


def booted(command: programs.Command, log: Path) -> Return:
    """Start a program by hand and see it serve."""
    environment = os.environ | command.environment
    began = clock.now()
    with started(command.words, log, environment, command.folder, signal.SIGKILL):
        return probe.watch(command.environment["BULKHEAD_ADDRESS"], began, set())


def table(found: Found, rounds: int) -> Table:
    """Medians, and how many bare boots it took until a new process served."""
    made = Table(f"kill to serving, median of {rounds}", COLUMNS)
    for what in VICTIMS:
        bare = found.get((what, BARE)) or found[VICTIMS[1], BARE]
        for name in (BARE, BULKHEAD, PLAIN):
            samples = found.get((what, name))
            if samples:
                made.rows.append([what, name, *figures(samples, bare)])
                details = [asdict(one) for one in samples]
                made.details.append({"killed": what, "brought back by": name, "samples": details})
    made.notes.append(NOTE)
    return made


def figures(samples: Sequence[Return], bare: Sequence[Return]) -> list[float]:
    """The cells of one row after its names."""
    anew = [1000 * one.anew_s for one in samples]
    return [
        1000 * median(one.accepts_s for one in samples),
        1000 * median(one.answers_s for one in samples),
        median(anew),
        min(anew),
        max(anew),
        1000 * median(one.silence_s for one in samples),
        median(anew) / (1000 * median(one.anew_s for one in bare)),
    ]
