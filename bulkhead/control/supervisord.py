"""supervisord, over its XML-RPC socket (supervisor/rpcinterface.py says what each call means)."""

import http.client
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkhead.control.unix import UnixTransport

# What a call raises when supervisord is not there, is on its way out (ShuttingDownError), or goes
# away in the middle of it.
GONE = (OSError, http.client.HTTPException)

# Process states in which supervisord will not bring the program back by itself, or is failing to.
FAILING = frozenset({"BACKOFF", "FATAL", "EXITED", "UNKNOWN"})
# States in which a program can be told to stop, and those in which it has. EXITED is neither: it is
# about to be started again.
STOPPABLE = frozenset({"STARTING", "RUNNING", "BACKOFF"})
ENDED = frozenset({"STOPPED", "FATAL"})

# supervisor/xmlrpc.py, Faults
SHUTDOWN_STATE = 6
NOT_RUNNING = 70


class ShuttingDownError(ConnectionError):
    """supervisord answers, and refuses every call: it is stopping all that it has, and itself."""


@dataclass(frozen=True)
class Program:
    """One program as supervisord sees it. RUNNING means only that it lived `startsecs`."""

    name: str
    group: str
    state: str
    pid: int  # 0 when there is none: never to be signalled
    description: str

    @property
    def full_name(self) -> str:
        """`group:name`, which its calls take."""
        return f"{self.group}:{self.name}"


class Supervisord:
    """A client. Every call wakes supervisord's loop, so it also changes what it measures:
    an observer of recovery times must not use it.
    """

    def __init__(self, socket: Path, timeout_s: float = 5) -> None:
        self._rpc = xmlrpc.client.ServerProxy(
            "http://localhost/RPC2", transport=UnixTransport(socket, timeout_s)
        )

    def answers(self) -> bool:
        """Whether it is there and not on its way out. Also turns its loop once."""
        try:
            return bool(self._call("getState")["statename"] == "RUNNING")
        except (*GONE, xmlrpc.client.Fault):
            return False

    def programs(self) -> list[Program]:
        """All programs, in the order of the configuration's names."""
        return [
            Program(
                info["name"], info["group"], info["statename"], info["pid"], info["description"]
            )
            for info in self._call("getAllProcessInfo")
        ]

    def start(self, program: Program) -> None:
        """Start one program and return at once: RUNNING would only mean that it lived `startsecs`.

        Raises:
            xmlrpc.client.Fault: it runs already, or its command cannot be run.
        """
        self._call("startProcess", program.full_name, False)

    def stop(self, program: Program) -> None:
        """Stop one program and wait until it has ended."""
        self._call("stopProcess", program.full_name, True)

    def stop_soon(self, program: Program) -> None:
        """Tell one program to stop and return at once; no matter if it has ended by now."""
        try:
            self._call("stopProcess", program.full_name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != NOT_RUNNING:
                raise

    def shutdown(self) -> bool:
        """Ask it to stop everything, highest priority first, and then itself; False if it hangs."""
        try:
            return bool(self._call("shutdown"))
        except ShuttingDownError:
            return True  # it is at it already
        except GONE:
            return False

    def _call(self, method: str, *arguments: object) -> Any:  # XML-RPC answers are what they are
        try:
            return getattr(self._rpc.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != SHUTDOWN_STATE:
                raise
            raise ShuttingDownError("it is shutting down") from fault
