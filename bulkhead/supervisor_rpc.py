"""supervisord, over its XML-RPC socket (supervisor/rpcinterface.py says what each call means).

Every program is a group of its own, so each can be stopped, removed and replaced by another version
of itself while the others serve. The name of both is the same, so its calls take that alone.

Not by xmlrpc.client.ServerProxy, which sends a call again when its connection breaks: supervisor's
own transport for it has no timeout, and keeps a connection that is dead once another one listens.
"""

import http.client
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkhead import proc
from bulkhead.clock import wait_until
from bulkhead.errors import StartError, StateError
from bulkhead.http_probe import UnixConnection

# Errors of a call when supervisord is not there or goes away: NotAnsweringError is one of them.
GONE = (OSError, http.client.HTTPException)

# Process states in which supervisord will not bring the program back by itself, or is failing to.
FAILING = frozenset({"BACKOFF", "FATAL", "EXITED", "UNKNOWN"})
# States in which a program can be told to stop, and those in which it has. EXITED is neither: it is
# about to be started again.
STOPPABLE = frozenset({"STARTING", "RUNNING", "BACKOFF"})
ENDED = frozenset({"STOPPED", "FATAL"})

# supervisor/xmlrpc.py, Faults
SHUTDOWN_STATE = 6
BAD_NAME = 10
ALREADY_STARTED = 60
NOT_RUNNING = 70
ALREADY_ADDED = 90
STILL_RUNNING = 91

EVERY_S = 0.01
ASK_S = 0.25  # seldom, while nothing can have changed: each call costs the processor time
REMOVED_S = 10


class NotAnsweringError(StateError, ConnectionError):
    """supervisord is not there, hangs, or is shutting down; `reason` says which."""

    reason: str | Exception = ""

    @property
    def absent(self) -> bool:
        """Whether no process listens at its socket; it may be about to."""
        return isinstance(self.reason, (FileNotFoundError, ConnectionRefusedError))


@dataclass(frozen=True)
class Program:
    """One program as supervisord sees it. RUNNING means only that it lived `startsecs`."""

    name: str
    state: str
    pid: int  # 0 when there is none: never to be signalled
    description: str


class Supervisord:
    """A client; every call raises NotAnsweringError when supervisord does not answer.

    Every call also wakes supervisord's loop: an observer of recovery times must not use it.
    """

    def __init__(self, socket: Path, timeout_s: float = 5) -> None:
        self._socket, self._timeout_s = socket, timeout_s

    def answers(self) -> bool:
        """Whether it is there and not shutting down."""
        try:
            return bool(self.call("supervisor.getState")["statename"] == "RUNNING")
        except (NotAnsweringError, xmlrpc.client.Fault):
            return False

    def programs(self) -> list[Program]:
        """All programs, in the order of the configuration's names."""
        return [_program(info) for info in self.call("supervisor.getAllProcessInfo")]

    def find(self, name: str) -> Program | None:
        """One program; None when supervisord has none of this name."""
        info = self.call("supervisor.getProcessInfo", name, tolerate=BAD_NAME)
        return _program(info) if info else None

    def start(self, name: str) -> None:
        """Start a program and return at once; StartError if its command cannot be run."""
        try:
            self.call("supervisor.startProcess", name, False, tolerate=ALREADY_STARTED)
        except xmlrpc.client.Fault as fault:
            raise StartError(f"supervisord cannot start {name}: {fault.faultString}") from fault

    def stop(self, name: str) -> None:
        """Stop a program and wait, for no longer than the client's timeout, until it has ended."""
        self.call("supervisor.stopProcess", name, True)

    def stop_soon(self, name: str) -> None:
        """Tell a program to stop and return at once; no matter if it has ended by now."""
        self.call("supervisor.stopProcess", name, False, tolerate=NOT_RUNNING)

    def end(self, name: str, patience_s: float) -> None:
        """Stop a program and wait until it has ended; StateError after `patience_s`."""

        def ended() -> bool:
            program = self.find(name)
            if program is None or program.state in ENDED:
                return True
            if program.state in STOPPABLE:
                self.stop_soon(name)
            elif process := proc.find(program.pid):
                proc.wait_gone(process, ASK_S)  # until then there is nothing to ask
            return False

        if not wait_until(ended, patience_s, EVERY_S):
            raise StateError(f"{name} has not ended within {patience_s:g} s of being told to")

    def reread(self) -> tuple[list[str], list[str], list[str]]:
        """Let supervisord read its file; the programs that it would add, change and remove.

        None of them is touched yet. StateError: it refuses the file.
        """
        try:
            added, changed, removed = self.call("supervisor.reloadConfig")[0]
        except xmlrpc.client.Fault as fault:
            raise StateError(f"supervisord refuses its file: {fault.faultString}") from fault
        return added, changed, removed

    def add(self, name: str) -> None:
        """Take up a program of the file that was read last, and start it; StartError as `start`."""
        self.call("supervisor.addProcessGroup", name, tolerate=ALREADY_ADDED)
        self.start(name)

    def remove(self, name: str) -> None:
        """Forget a program that has ended; StateError if it is started again and again."""

        def removed() -> bool:
            try:
                self.call("supervisor.removeProcessGroup", name, tolerate=BAD_NAME)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != STILL_RUNNING:
                    raise
                self.end(name, REMOVED_S)
                return False
            return True

        if not wait_until(removed, REMOVED_S, EVERY_S):
            raise StateError(f"{name} is started again and again while it is to be removed")

    def orphan(self, name: str) -> None:
        """SIGKILL a program's own process alone and keep supervisord from starting it again.

        Its children live on as orphans. One call, in which supervisord gets no chance to see the
        death before it is told to stop the program.
        """
        calls = [
            {"methodName": "supervisor.signalProcess", "params": [name, "KILL"]},
            {"methodName": "supervisor.stopProcess", "params": [name, False]},
        ]
        answers = self.call("system.multicall", calls)
        if faults := [str(each["faultString"]) for each in answers if isinstance(each, dict)]:
            raise StateError(f"supervisord cannot end {name}: {', '.join(faults)}")

    def say_ready(self, names: list[str]) -> None:
        """Tell it that programs have become ready (supervisor/wakeup.py)."""
        self.call("wakeup.ready", names)

    def shutdown(self) -> bool:
        """Ask it to stop everything, highest priority first, and then itself; False if it hangs."""
        try:
            self.call("supervisor.shutdown", tolerate=SHUTDOWN_STATE)
        except NotAnsweringError:
            return False
        return True

    def call(self, method: str, *arguments: Any, tolerate: int = 0) -> Any:
        """Call, by one send. None instead of the Fault `tolerate`: it was so already."""
        connection = UnixConnection(self._socket, self._timeout_s)
        sent = xmlrpc.client.dumps(arguments, method).encode()
        try:
            connection.request("POST", "/RPC2", sent, {"Content-Type": "text/xml"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise http.client.HTTPException(f"{answer.status} {answer.reason}")
            return xmlrpc.client.loads(answer.read())[0][0]
        except (xmlrpc.client.Fault, *GONE) as error:
            reason: str | Exception = error
            if isinstance(error, xmlrpc.client.Fault):
                if error.faultCode == tolerate:
                    return None
                if error.faultCode != SHUTDOWN_STATE:
                    raise
                reason = "it is shutting down"
            lost = NotAnsweringError(f"supervisord does not answer ({reason}); see `make status`")
            lost.reason = reason
            raise lost from error
        finally:
            connection.close()


def _program(info: dict[str, Any]) -> Program:
    return Program(info["name"], info["statename"], info["pid"], info["description"])
