"""kill_nginx: nginx's master crashes. Its workers serve on and hold the port."""

import socket
from signal import SIGKILL

from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.faults import parts, proxy, signals
from bulkhead.faults.base import CONNECT_S, FaultError, Site, Steps, Targets, register
from bulkhead.faults.proof import UNDONE_S, undone


@register
class KillNginx(parts.OnPart):
    """SIGKILL of the master alone; supervisord starts another, the watchdog ends the strays."""

    name = "kill_nginx"

    def hold(self, site: Site, targets: Targets) -> Steps:  # noqa: ARG002 - there is one nginx
        """Kill it; undone is that a new one leads workers of its own, and the old ones are gone."""
        victim = proxy.master(site)
        old = process.children(victim.pid)
        wanted = proxy.generation(site)
        refused: list[bool] = []
        try:
            process.send(victim, SIGKILL)
            yield signals.gone(site, [victim])
        finally:
            # Strays first announce the end of their connections, then finish what they have.
            settings = site.topology.proxy
            undone(
                "must serve with new workers, and without the old",
                ("nginx",),
                lambda _: _taken_over(site, victim, old, wanted, refused),
                settings.closing_s + settings.grace_s + UNDONE_S,
            )
        workers = proxy.workers(proxy.master(site))
        return (
            f"workers: {signals.pids(workers)}, no more {signals.pids(old)}; "
            f"{sum(refused)} of {len(refused)} connects were refused meanwhile"
        )


def _taken_over(
    site: Site, victim: Process, old: list[Process], wanted: str, refused: list[bool]
) -> bool:
    refused.append(_refuses(site))
    try:
        new = proxy.master(site)
    except FaultError:
        return False
    if new == victim or any(map(process.alive, old)):
        return False
    enough = len(proxy.workers(new)) >= site.topology.proxy.workers
    return enough and proxy.generation(site) == wanted


def _refuses(site: Site) -> bool:
    """Whether the public port refuses a connection; nothing is sent."""
    host, _, port = site.topology.proxy.listen.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
