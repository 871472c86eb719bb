"""The calls by which the watchdog makes supervisord start a program."""

from xmlrpc.client import Fault

from bulkhead.control.supervisord import GONE, Program, Supervisord

__all__ = ["GONE", "Calls", "Fault", "Program"]


class Calls(Supervisord):
    """supervisord, asked not to wait."""

    def again(self, program: Program) -> None:
        """End the pause after a failed start, and start.

        One call: whatever happens to the caller in between, the program is not left stopped.
        """
        steps = (["stopProcess"] if program.state == "BACKOFF" else []) + ["startProcess"]
        self._rpc.system.multicall(
            [
                {"methodName": f"supervisor.{step}", "params": [program.full_name, False]}
                for step in steps
            ]
        )

    def begin(self, program: Program) -> None:
        """Start a stopped program and return at once.

        Raises:
            Fault: it cannot be started.
        """
        self._call("startProcess", program.full_name, False)
