"""What a drill has told this process to do wrong: the state, its rules, the memory that it holds.

Standard library only, shared by every service. It is told through the admin socket alone
(services/admin.py) and ends with the process: a restarted instance is a healthy one.
"""

import json
import random
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from mmap import mmap

Fault = Literal["", "errors", "slow"]

# name -> (default, least, most). A default that is an int wants whole numbers.
RULES: dict[str, tuple[float, float, float]] = {
    "slow_ms": (0.0, 0, 60_000),  # delay of a request
    "slow_share": (1.0, 0, 1),  # how many of the requests get it
    "errors_share": (0.0, 0, 1),  # how many are answered with an error instead
    "errors_status": (503, 400, 599),  # which one
    "busy_s": (0.0, 0, 60),  # block this process once, for so long
    "memory_mb": (0, 0, 65_536),  # hold so much
    "memory_limit_mb": (1024, 0, 65_536),  # refuse to hold more
}
DEFAULTS = {name: default for name, (default, _, _) in RULES.items()}

MB = 1024 * 1024
# Memory grows as a leak does, step by step: a step of 16 MB takes the event loop a few ms.
STEP_MB = 16
STEP_S = 0.05
SHOWN_CHARACTERS = 80


class RefusedError(ValueError):
    """Nothing was changed; `problems` names every field that cannot be used."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Faults:
    """The faults of one process. All of it belongs to the process's event loop.

    `active` is the one thing that every request looks at: whether it may be hit at all.
    """

    def __init__(self) -> None:
        self.active = False
        self._told: dict[str, Any] = DEFAULTS
        self._random = random.Random()
        self._held: list[mmap] = []
        self._growing = False

    def state(self) -> dict[str, Any]:
        """What was told, and how much memory is held by now."""
        return self._told | {"memory_held_mb": self._held_mb()}

    def tell(self, change: Mapping[str, object]) -> None:
        """Change the named fields and keep the others.

        Raises:
            RefusedError: a field is unknown or its value is not allowed; nothing was changed.
        """
        told = {**self._told, **change}
        if found := problems(told):
            raise RefusedError(found)
        self._told = told
        self.active = bool(told["errors_share"] or (told["slow_ms"] and told["slow_share"]))
        while self._held_mb() > told["memory_mb"]:
            self._held.pop().close()  # unmapped: the kernel has it back at once

    def clear(self) -> None:
        """Undo everything. A request that waits out its delay already still does."""
        self.tell(DEFAULTS)

    def draw(self) -> Fault:
        """What is to happen to one request; each is drawn by itself, so shares are never exact."""
        told = self._told
        if self._random.random() < told["errors_share"]:
            return "errors"
        if told["slow_ms"] and self._random.random() < told["slow_share"]:
            return "slow"
        return ""

    @property
    def slow_s(self) -> float:
        """How long a slow request is held up."""
        return float(self._told["slow_ms"]) / 1000

    @property
    def errors_status(self) -> int:
        """The status of an injected error."""
        return int(self._told["errors_status"])

    def block(self) -> None:
        """Block the calling thread as long as was told, once, as a runaway loop does."""
        busy_s = self._told["busy_s"]
        end = time.monotonic() + busy_s
        while time.monotonic() < end:
            pass
        self._told = self._told | {"busy_s": 0.0}

    def grow(self) -> Iterator[float]:
        """Hold what was told, a step at a time; the caller sleeps for each time that is yielded."""
        if self._growing:
            return
        self._growing = True
        try:
            while (missing := self._told["memory_mb"] - self._held_mb()) > 0:
                self._held.append(touched(min(STEP_MB, missing)))
                yield STEP_S
        finally:
            self._growing = False

    def _held_mb(self) -> int:
        return sum(map(len, self._held)) // MB


def touched(mb: int) -> "mmap":
    """Private memory that is really there: every page of it has been written to."""
    import mmap  # by a process that is told to, and no other

    memory = mmap.mmap(-1, mb * MB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[:: mmap.PAGESIZE] = b"\1" * (mb * MB // mmap.PAGESIZE)
    return memory


def problems(told: Mapping[str, Any]) -> list[str]:
    """What cannot be used of `told`: a line for each field."""
    found = [line for name, value in told.items() if (line := problem(name, value))]
    if not found and told["memory_mb"] > told["memory_limit_mb"]:
        limit = f"must be at most memory_limit_mb, which is {told['memory_limit_mb']}"
        found.append(f"memory_mb = {told['memory_mb']}: {limit}")
    return found


def problem(name: str, value: object) -> str:
    """What is wrong with one field; empty when nothing is."""
    shown = f"{name} = {json.dumps(value)}"[:SHOWN_CHARACTERS]
    if name not in RULES:
        return f"{shown}: unknown; known are {', '.join(RULES)}"
    default, least, most = RULES[name]
    whole = isinstance(default, int)
    # Neither true, which is an int to Python, nor NaN, which compares false.
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if number and least <= cast(float, value) <= most:
        return ""
    return f"{shown}: must be {'a whole' if whole else 'a'} number from {least} to {most}"
