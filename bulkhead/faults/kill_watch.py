"""kill_watch: the watchdog crashes. Until another hears, nobody watches."""

import socket
from signal import SIGKILL

from bulkhead.control import process
from bulkhead.faults import parts, signals
from bulkhead.faults.base import FaultError, Site, Steps, Targets, register
from bulkhead.faults.proof import undone

WATCH = "watch"


@register
class KillWatch(parts.OnPart):
    """SIGKILL of the watchdog; supervisord starts it again."""

    name = "kill_watch"
    part = "watch"

    def available(self, site: Site) -> str:
        """Only where there is one."""
        return "" if site.topology.file.stack.watch else "there is no watchdog: stack.watch"

    def hold(self, site: Site, targets: Targets) -> Steps:  # noqa: ARG002 - there is one
        """Kill it; undone is that another leads and that somebody listens for beats."""
        victim = parts.leader(site, WATCH)
        if victim is None:
            raise FaultError("no live process: watch")
        try:
            process.send(victim, SIGKILL)
            yield signals.gone(site, [victim])
        finally:
            undone(
                "another must hear",
                ("watch",),
                lambda _: parts.leader(site, WATCH) not in (None, victim) and hears(site),
            )
        found = parts.leader(site, WATCH)
        return f"hears: {signals.pids([found] if found else [])}"


def hears(site: Site) -> bool:
    """Whether a live process has the socket of the beats; nothing is sent.

    The socket of a dead one is still there as a file, and refuses.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as trial:
        try:
            trial.connect(str(site.home.notify_socket))
        except OSError:
            return False
        return True
