"""Kill-storm, all-down and hang: bulkhead and its peers under the same load and the same faults.

How to read it: docs/bench.md.
"""

import signal
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from bench import proxies
from bench.figures import Figures, Table, figures, shown
from bench.load import RATE, TIMEOUT_S, open_loop
from bench.usage import instance, temporary_folder
from bulkhead import clock, proc
from bulkhead.records import ClientRow
from bulkhead.testing import Stack, free_ports, wait_until

NAMES = ("api-1", "api-2", "api-3", "api-4")
STORM_TURNS, STORM_EVERY_S = 50, 0.3
STORM_S = STORM_TURNS * STORM_EVERY_S
BLOWS, BLOWS_EVERY_S = 8, 2.0
HANG_S = 8.0

LEAD_S = 1.0  # of calm load before the first fault
TAIL_S = 2.0  # of load after the last fault: its consequences count
COLUMNS = (
    *("proxy", "back by", "sent", "failed", "failed %", "p50 ms", "p99 ms", "p99.9 ms"),
    *("worst ms", "good/s", "kills met", "failed how"),
)
NOTE = (
    f"failed: no good answer within {TIMEOUT_S} s. p50 to p99.9: of all requests; `never`: more "
    "than the rest of them failed. worst: of those that were answered well"
)


class Scenario(NamedTuple):
    """`inflict` does it to the children of a supervisord, given by its pid, in `seconds`.

    It says how many were met: an instance that is dead when its turn comes cannot be killed.
    """

    story: str
    seconds: float
    inflict: Callable[[int], str]


def killed(every_s: float, blows: Sequence[Sequence[str]], supervisord: int) -> str:
    """SIGKILL to the instances of each blow, one blow every `every_s`."""
    began, met = clock.now(), 0
    for number, names in enumerate(blows, 1):
        for name in names:
            victim = instance(supervisord, name)
            met += bool(victim and proc.send(victim, signal.SIGKILL))
        clock.pause(max(0.0, began + number * every_s - clock.now()))
    return f"{met} of {sum(map(len, blows))}"


def hang(supervisord: int) -> str:
    """SIGSTOP to one instance, and SIGCONT after HANG_S if it still lives."""
    victim = instance(supervisord, NAMES[0])
    assert victim, "there is no instance to stop"
    proc.send(victim, signal.SIGSTOP)
    wait_until("a stopped instance", lambda: proc.stopped(victim), every_s=0.002)
    clock.pause(HANG_S)
    return "continued" if proc.send(victim, signal.SIGCONT) else "killed meanwhile"


SCENARIOS = {
    # One after another, whether or not the last one is back.
    "kill-storm": Scenario(
        f"one of four instances SIGKILLed every {STORM_EVERY_S:g} s, for {STORM_S:g} s",
        STORM_S,
        partial(killed, STORM_EVERY_S, [[NAMES[turn % 4]] for turn in range(STORM_TURNS)]),
    ),
    "all-down": Scenario(
        f"all four SIGKILLed at once, {BLOWS} times, {BLOWS_EVERY_S:g} s apart",
        BLOWS * BLOWS_EVERY_S,
        partial(killed, BLOWS_EVERY_S, [NAMES] * BLOWS),
    ),
    "hang": Scenario(f"one of four SIGSTOPped for {HANG_S:g} s", HANG_S, hang),
}


class SetUp(NamedTuple):
    """The subject of a row: a proxy, and what restarts its instances; with `peer`, a plain
    supervisord with these `startsecs`.
    """

    name: str = "bulkhead"
    supervisor: str = "its watchdog"
    peer: proxies.Peer | None = None
    startsecs: int = 1


def set_ups(scenario: str) -> list[SetUp]:
    """The rows of a scenario. Where nothing dies, startsecs makes no difference."""
    rows = [SetUp()]
    for peer in proxies.PEERS:
        for startsecs in (1,) if scenario == "hang" else (1, 0):
            rows.append(SetUp(peer.name, f"startsecs={startsecs}", peer, startsecs))
    return rows


def measure(name: str, asked: Namespace) -> Iterator[Table]:
    """One scenario with every set-up, or with those that the command line names.

    A round takes minutes, so there is one by default.
    """
    scenario = SCENARIOS[name]
    table = Table(
        f"{name}: {scenario.story}; {RATE} requests/s, all of them harmless to repeat", COLUMNS
    )
    by_set_up: dict[SetUp, Figures] = {}
    for set_up in set_ups(name):
        if asked.only and set_up.name not in asked.only:
            continue
        print(f"  {name}: {set_up.name}, {set_up.supervisor}", flush=True)
        done = [_round(set_up, scenario, asked.set) for _ in range(asked.rounds or 1)]
        sent, spans, met = zip(*done, strict=True)
        found = by_set_up[set_up] = figures(chain.from_iterable(sent), spans)
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in found.kinds.items())
        share = 100 * found.failed / max(found.sent, 1)
        cells = (set_up.name, set_up.supervisor, found.sent, found.failed, share, found.p50_ms)
        more = (found.p99_ms, found.p999_ms, found.worst_ms, found.rate)
        table.rows.append([*cells, *more, ", ".join(dict.fromkeys(met)), kinds or "-"])
        details = {"set-up": set_up.name, "by": set_up.supervisor}
        table.details.append(details | asdict(found))
    table.notes += [NOTE, *comparison(by_set_up)]
    yield table


def comparison(by_set_up: dict[SetUp, Figures]) -> list[str]:
    """Where bulkhead is ahead of a peer, in a sentence for each peer; and where it is not."""
    ours = by_set_up.get(SetUp())
    if ours is None:
        return []
    said = []
    for set_up, theirs in by_set_up.items():
        if set_up.peer:
            failures = _standing(ours.failed, theirs.failed)
            worst = _standing(ours.worst_ms, theirs.worst_ms)
            # A proxy that answers few may answer them soon.
            share = 100 * (1 - theirs.failed / max(theirs.sent, 1))
            of_those = f", of the {share:.1f} % that it answered well" if theirs.failed else ""
            said.append(
                f"against {set_up.name} ({set_up.supervisor}): {failures} in failures "
                f"({ours.failed:,} to {theirs.failed:,}), {worst} in worst latency "
                f"({shown(ours.worst_ms)} to {shown(theirs.worst_ms)} ms{of_those})"
            )
    return said


def _standing(ours: float | None, theirs: float | None) -> str:
    if ours == theirs:
        return "level"
    return "ahead" if theirs is None or (ours is not None and ours < theirs) else "BEHIND"


def _round(
    set_up: SetUp, scenario: Scenario, settings: Sequence[str]
) -> tuple[list[ClientRow], tuple[float, float], str]:
    """The rows of one load, the span of its faults with TAIL_S, and what the faults met."""
    seconds = LEAD_S + scenario.seconds + TAIL_S + 0.5
    with (
        temporary_folder() as folder,
        _running(set_up, folder, settings) as (url, supervisord),
        open_loop(url, folder / "load", seconds) as finish,
    ):
        clock.pause(LEAD_S)
        began = clock.now()
        met = scenario.inflict(supervisord)
        ended = clock.now() + TAIL_S
        return finish(), (began, ended), met


@contextmanager
def _running(set_up: SetUp, folder: Path, settings: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The set-up, ready to serve: its URL, and the pid of the instances' supervisord."""
    if set_up.peer is None:
        with Stack.running(folder / "home", settings) as stack:
            yield stack.url, stack.supervisord
        return
    with free_ports() as (port, *more):
        instances = more[: len(NAMES)]
        with (
            proxies.supervised(folder / "instances", instances, set_up.startsecs) as supervisord,
            proxies.proxy(set_up.peer, folder / "proxy", port, instances),
        ):
            yield f"http://127.0.0.1:{port}", supervisord.pid
