"""supervisord's programs, one at a time: stopped, started, added and removed while others serve.

Every program is a group of its own, so each can be replaced by another version of itself without
touching the rest. Every call also turns supervisord's loop, so polling makes it act at once.
"""

from typing import Any
from xmlrpc.client import Fault

from bulkhead.clock import wait_until
from bulkhead.control import process
from bulkhead.control.supervisord import (
    ENDED,
    GONE,
    NOT_RUNNING,
    STOPPABLE,
    Program,
    Supervisord,
)
from bulkhead.errors import StartError, StateError

EVERY_S = 0.01
ASK_S = 0.25
PATIENCE_S = 10

# supervisor/xmlrpc.py, Faults
BAD_NAME = 10
ALREADY_STARTED = 60
ALREADY_ADDED = 90
STILL_RUNNING = 91


class Programs(Supervisord):
    """supervisord as an operator uses it. Each call raises StateError when it does not answer."""

    def find(self, name: str) -> Program | None:
        """One program; None when supervisord has none of this name."""
        try:
            info = self._say("getProcessInfo", _full(name))
        except Fault as fault:
            if fault.faultCode == BAD_NAME:
                return None
            raise
        return Program(name, name, info["statename"], info["pid"], info["description"])

    def end(self, name: str, patience_s: float) -> None:
        """Stop one program, by its own signal and within its own grace time, and wait for that.

        Raises:
            StateError: it still runs after `patience_s`, which is longer than its grace time.
        """

        def ended() -> bool:
            found = self.find(name)
            if found is None or found.state in ENDED:
                return True
            if found.state in STOPPABLE:
                self._tolerate(NOT_RUNNING, "stopProcess", _full(name), False)
            elif leader := process.find(found.pid):
                # Until it is gone there is nothing to ask: each question costs supervisord a turn,
                # and what serves the processor time.
                process.wait_gone(leader, ASK_S)
            return False

        if not wait_until(ended, patience_s, EVERY_S):
            raise StateError(f"{name} has not ended within {patience_s:g} s of being told to")

    def begin(self, name: str) -> None:
        """Start one program and return at once.

        Raises:
            StartError: its command cannot be run at all.
        """
        try:
            self._tolerate(ALREADY_STARTED, "startProcess", _full(name), False)
        except Fault as fault:
            raise StartError(f"supervisord cannot start {name}: {fault.faultString}") from fault

    def reread(self) -> tuple[list[str], list[str], list[str]]:
        """Let supervisord read its file; nothing changes until a program is added or removed.

        Returns which programs of the file do not exist yet, which are other than those that
        exist, and which exist without being in the file.

        Raises:
            StateError: it refuses the file.
        """
        try:
            added, changed, removed = self._say("reloadConfig")[0]
        except Fault as fault:
            raise StateError(f"supervisord refuses its file: {fault.faultString}") from fault
        return added, changed, removed

    def add(self, name: str) -> None:
        """Take up a program of the file that was read last, and start it."""
        self._tolerate(ALREADY_ADDED, "addProcessGroup", name)
        self.begin(name)

    def remove(self, name: str) -> None:
        """Forget a program that has ended; end it once more if somebody has just started it.

        Raises:
            StateError: it is started again and again.
        """

        def removed() -> bool:
            try:
                self._tolerate(BAD_NAME, "removeProcessGroup", name)
            except Fault as fault:
                if fault.faultCode != STILL_RUNNING:
                    raise
                self.end(name, PATIENCE_S)
                return False
            return True

        if not wait_until(removed, PATIENCE_S, EVERY_S):
            raise StateError(f"{name} is started again and again while it is to be removed")

    def orphan(self, name: str) -> None:
        """SIGKILL a program's own process alone and keep supervisord from starting it again.

        Its children live on as strays. One call, in which supervisord gets no chance to see the
        death before it is told to stop the program.
        """
        full = _full(name)
        calls = [
            {"methodName": "supervisor.signalProcess", "params": [full, "KILL"]},
            {"methodName": "supervisor.stopProcess", "params": [full, False]},
        ]
        try:
            answers = self._rpc.system.multicall(calls)
        except GONE as error:
            raise _gone(error) from error
        faults = [str(one["faultString"]) for one in answers if isinstance(one, dict)]  # type: ignore[union-attr]
        if faults:
            raise StateError(f"supervisord cannot end {name}: {', '.join(faults)}")

    def _tolerate(self, fault_code: int, method: str, *arguments: object) -> None:
        """Call, and take one kind of refusal for success: it was so already."""
        try:
            self._say(method, *arguments)
        except Fault as fault:
            if fault.faultCode != fault_code:
                raise

    def _say(self, method: str, *arguments: object) -> Any:
        try:
            return self._call(method, *arguments)
        except GONE as error:
            raise _gone(error) from error


def _full(name: str) -> str:
    return f"{name}:{name}"


def _gone(error: Exception) -> StateError:
    return StateError(f"supervisord does not answer ({error}); see `make status`")
