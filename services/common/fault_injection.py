"""Fault injection: how a drill tells a process to misbehave, over a unix socket of its own.

Standard library only, shared by every service. Each service serves the admin socket by its own
event loop: it sends what `answer` returns and then calls `Faults.begin`. The socket is in a folder
of mode 0700 and there is no port: only the user who runs the stack reaches it, and no path through
nginx leads to it. Injected faults end with the process: a restarted instance is a healthy one.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from services.common.identity import Identity
from services.common.notify import Later

if TYPE_CHECKING:
    from mmap import mmap

BACKLOG = 16
MAX_BODY = 64 * 1024
PATH = "/faults"
METHODS = "GET, PUT, DELETE"
ERROR = ("error_code", "error_msg", "resolution")

AdminAnswer = tuple[int, dict[str, str], bytes]  # status, headers, body

# name -> (default, least, most). A default that is an int wants whole numbers.
RULES: dict[str, tuple[float, float, float]] = {
    "slow_ms": (0.0, 0, 60_000),  # delay of a request
    "slow_share": (1.0, 0, 1),  # how many of the requests get it
    "errors_share": (0.0, 0, 1),  # how many are answered with an error instead
    "errors_status": (503, 400, 599),  # which one
    "poison": (0, 0, 2),  # what a request for POISON does to this process: 1 kills it, 2 hangs it
    "busy_s": (0.0, 0, 60),  # block this process once, for so long
    "memory_mb": (0, 0, 65_536),  # hold so much
    "memory_limit_mb": (1024, 0, 65_536),  # refuse to hold more
}
DEFAULTS = {name: default for name, (default, _, _) in RULES.items()}

POISON = "/api/v1/work?bytes=0"
HANGS = 2

MB = 1024 * 1024
# Memory grows as a leak does, step by step: a step of 16 MB takes the event loop a few ms.
STEP_MB = 16
STEP_S = 0.05
SHOWN_CHARACTERS = 80


def why_not_start(folder: str, instance: str) -> str:
    """Why `instance` must not start, in one line; empty when it may."""
    crash = Path(folder, f"{instance}.crash")
    if folder and not crash.parent.is_dir():
        return f"BULKHEAD_ADMIN_DIR = {folder!r}: no such folder"
    if folder and crash.exists():
        return f"{crash} says that {instance} must not start; remove it"
    return ""


def listen(folder: str, identity: Identity) -> socket.socket:
    """The listening admin socket `<instance>.<pid>.sock` of this process.

    OSError if the folder is not there or not ours, or the path is too long for a socket.
    """
    # Processes of this instance that were killed have left theirs behind.
    for left in Path(folder).glob(f"{identity.instance}.*.sock"):
        if not Path("/proc", left.name.split(".")[-2]).exists():
            left.unlink(missing_ok=True)
    path = Path(folder, f"{identity.instance}.{identity.pid}.sock")
    path.unlink(missing_ok=True)  # of a dead process that had our pid
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    path.chmod(0o600)
    listening.listen(BACKLOG)
    listening.setblocking(False)
    return listening


def remove(listening: socket.socket) -> None:
    """Remove the file of a listening socket; its server closes the socket itself."""
    Path(listening.getsockname()).unlink(missing_ok=True)


class FaultsInvalidError(ValueError):
    """Nothing was changed; the message names every field that cannot be used."""


class Faults:
    """The faults of one process. All of it belongs to the process's event loop.

    `active` is the one thing that every request looks at: whether it may be hit at all.
    """

    def __init__(self) -> None:
        import random  # a process that no drill talks to boots without it

        self.active = False
        self.told: dict[str, Any] = DEFAULTS
        self._random = random.Random()
        self._held: list[mmap] = []
        self._growing = False

    def state(self) -> dict[str, Any]:
        """The faults that were told, and how much memory is held by now."""
        return self.told | {"memory_held_mb": self._held_mb()}

    def tell(self, change: Mapping[str, object]) -> None:
        """Change the named fields and keep the others.

        FaultsInvalidError if a field is unknown or its value is not allowed; nothing was changed.
        """
        told = {**self.told, **change}
        wrong = [line for name, value in told.items() if (line := problem(name, value))]
        if not wrong and told["memory_mb"] > told["memory_limit_mb"]:
            limit = f"must be at most memory_limit_mb, which is {told['memory_limit_mb']}"
            wrong = [f"memory_mb = {told['memory_mb']}: {limit}"]
        if wrong:
            raise FaultsInvalidError("; ".join(wrong))
        self.told = told
        slow = told["slow_ms"] and told["slow_share"]
        self.active = bool(told["errors_share"] or told["poison"] or slow)
        while self._held_mb() > told["memory_mb"]:
            self._held.pop().close()  # unmapped: the kernel has it back at once

    def draw(self) -> str:
        """The fault of one request, or "". Each is drawn by itself, so shares are never exact."""
        told = self.told
        if self._random.random() < told["errors_share"]:
            return "errors"
        if told["slow_ms"] and self._random.random() < told["slow_share"]:
            return "slow"
        return ""

    def swallow(self, target: str) -> None:
        """Die or hang if `target` is the poison request and poison was told."""
        if self.told["poison"] and target == POISON:
            while self.told["poison"] == HANGS:
                pass
            os.kill(os.getpid(), signal.SIGKILL)

    def begin(self, later: Later) -> None:
        """Grow and block this thread as was told: called once the answer is with the kernel."""
        if not self._growing:
            self._grow(later)
        # As a runaway loop does, once.
        end = time.monotonic() + self.told["busy_s"]
        while time.monotonic() < end:
            pass
        self.told = self.told | {"busy_s": 0.0}

    def _grow(self, later: Later) -> None:
        """Hold a step more of the memory that was told, and the next step later."""
        missing = self.told["memory_mb"] - self._held_mb()
        self._growing = missing > 0
        if self._growing:
            import mmap  # by a process that is told to, and no other

            size = min(STEP_MB, missing) * MB
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory[:: mmap.PAGESIZE] = b"\1" * (size // mmap.PAGESIZE)  # so that it is really there
            self._held.append(memory)
            later(STEP_S, partial(self._grow, later))

    def _held_mb(self) -> int:
        return sum(map(len, self._held)) // MB


def problem(name: str, value: object) -> str:
    """Why a field cannot be told; empty when it can."""
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


def answer(identity: Identity, faults: Faults, method: str, path: str, body: bytes) -> AdminAnswer:
    """Do as one request of the admin socket asks; the answer to it."""
    status, error = 200, ("", "", "")
    try:
        if path != PATH:
            status, error = 404, ("path_not_found", f"Nothing is at {path}.", f"Use {PATH}.")
        elif method == "PUT":
            faults.tell(_fields(body))
        elif method == "DELETE":  # a request that waits out its delay already still does
            faults.tell(DEFAULTS)
        elif method != "GET":
            message = f"{PATH} does not take {method}."
            status, error = 405, ("method_not_allowed", message, f"Allowed methods: {METHODS}.")
    except FaultsInvalidError as invalid:
        advice = "Nothing was changed. Correct what is named and send it again."
        status, error = 400, ("faults_invalid", f"{invalid}.", advice)
    content: dict[str, Any] = dict(zip(ERROR, error, strict=True))
    if status == 200:
        process = {"instance": identity.instance, "pid": identity.pid, "boot": identity.boot}
        content = process | faults.state()
    answered = json.dumps(content).encode() + b"\n"
    headers = {"Content-Type": "application/json", "Content-Length": str(len(answered))}
    allow = {"Allow": METHODS} if status == 405 else {}
    return status, identity.headers() | headers | allow, answered


def _fields(body: bytes) -> dict[str, object]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FaultsInvalidError(f"The body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise FaultsInvalidError(f"The body must be a JSON object, not {type(fields).__name__}")
    return fields
