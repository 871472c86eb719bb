"""What is done to the API instances of a set-up while the load runs: the same to every one of them.

Nobody asks a supervisord anything meanwhile: that would wake it, and so make it look quicker than
it is. An instance that is dead when its turn comes cannot be killed; `inflict` says how many were.
"""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.processes import instance
from bulkhead import clock
from bulkhead.control import process
from tests.support.waiting import wait_until

NAMES = ("api-1", "api-2", "api-3", "api-4")
STORM_S, STORM_EVERY_S = 15.0, 0.3
BLOWS, BLOWS_EVERY_S = 8, 2.0
HANG_S = 8.0


@dataclass(frozen=True)
class Scenario:
    """`inflict` does it to the children of a supervisord, given by its pid, in `seconds`."""

    name: str
    story: str
    seconds: float
    inflict: Callable[[int], str]


def kill_storm(supervisord: int) -> str:
    """SIGKILL to one instance after another, whether or not the last one is back."""
    turns = round(STORM_S / STORM_EVERY_S)
    every = _every(STORM_EVERY_S, turns)
    killed = sum(_kill(supervisord, NAMES[number % len(NAMES)]) for number in every)
    return f"{killed} of {turns}"


def all_down(supervisord: int) -> str:
    """SIGKILL to all instances at once, again and again."""
    every = _every(BLOWS_EVERY_S, BLOWS)
    killed = sum(_kill(supervisord, name) for _ in every for name in NAMES)
    clock.pause(BLOWS_EVERY_S)
    return f"{killed} of {BLOWS * len(NAMES)}"


def hang(supervisord: int) -> str:
    """SIGSTOP to one instance, and SIGCONT after HANG_S if it still lives."""
    victim = instance(supervisord, NAMES[0])
    assert victim, "there is no instance to stop"
    process.send(victim, signal.SIGSTOP)
    wait_until("a stopped instance", lambda: process.stopped(victim), every_s=0.002)
    clock.pause(HANG_S)
    return "continued" if process.send(victim, signal.SIGCONT) else "killed meanwhile"


SCENARIOS = (
    Scenario(
        "kill-storm",
        f"one of four instances SIGKILLed every {STORM_EVERY_S:g} s, for {STORM_S:g} s",
        STORM_S,
        kill_storm,
    ),
    Scenario(
        "all-down",
        f"all four SIGKILLed at once, {BLOWS} times, {BLOWS_EVERY_S:g} s apart",
        BLOWS * BLOWS_EVERY_S,
        all_down,
    ),
    Scenario("hang", f"one of four SIGSTOPped for {HANG_S:g} s", HANG_S, hang),
)


def _kill(supervisord: int, name: str) -> bool:
    """Whether there was an instance of that name to kill."""
    victim = instance(supervisord, name)
    return bool(victim and process.send(victim, signal.SIGKILL))


def _every(seconds: float, times: int) -> Iterator[int]:
    """0, 1, ... `times` - 1, so far apart, however long the work between takes."""
    began = clock.now()
    for number in range(times):
        clock.pause(max(0.0, began + number * seconds - clock.now()))
        yield number
