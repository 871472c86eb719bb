"""supervisord, over its XML-RPC socket (supervisor/rpcinterface.py says what each call means)."""

import http.client
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkhead.control.unix import UnixTransport

# What a call raises when supervisord is not there or goes away in the middle of it.
GONE = (OSError, http.client.HTTPException)

# Process states in which supervisord will not bring the program back by itself, or is failing to.
FAILING = frozenset({"BACKOFF", "FATAL", "EXITED", "UNKNOWN"})


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
        """Start one program and wait until it is RUNNING."""
        self._call("startProcess", program.full_name, True)

    def stop(self, program: Program) -> None:
        """Stop one program and wait until it has ended."""
        self._call("stopProcess", program.full_name, True)

    def shutdown(self) -> bool:
        """Ask it to stop everything, highest priority first, and then itself; False if it hangs."""
        try:
            return bool(self._call("shutdown"))
        except GONE:
            return False

    def _call(self, method: str, *arguments: object) -> Any:  # XML-RPC answers are what they are
        return getattr(self._rpc.supervisor, method)(*arguments)
