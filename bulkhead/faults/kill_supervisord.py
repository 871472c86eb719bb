"""kill_supervisord: supervisord crashes. What it has started lives on, without a parent."""

from signal import SIGKILL

from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.control.supervisord import Supervisord
from bulkhead.faults import parts, signals
from bulkhead.faults.base import STAND_IN, FaultError, Site, Steps, Targets, register
from bulkhead.faults.proof import undone


@register
class KillSupervisord(parts.OnPart):
    """SIGKILL of supervisord; the watchdog starts another, which takes over what runs."""

    name = "kill_supervisord"
    part = "supervisord"

    def available(self, site: Site) -> str:
        """Only where somebody starts another."""
        return "" if site.topology.file.stack.watch else "nobody would start another: stack.watch"

    def hold(self, site: Site, targets: Targets) -> Steps:  # noqa: ARG002 - there is one
        """Kill it; undone is that another answers, runs every program, and runs none twice."""
        victim = parts.supervisord(site)
        before = parts.leaders(site)
        try:
            process.send(victim, SIGKILL)
            yield signals.gone(site, [victim])
        finally:
            undone("another must answer", ("supervisord",), lambda _: _other(site, victim))
            # Only now: a call wakes it up, and it may still be about to start something.
            undone("must be run by it, once", (*before, "nginx"), lambda name: _runs(site, name))
        after = parts.leaders(site)
        kept = [name for name, one in before.items() if after.get(name) == one]
        return (
            f"supervisord: pid {parts.supervisord(site).pid}; {len(kept)} of {len(before)} "
            f"instances have the process that they had"
        )


def _other(site: Site, victim: Process) -> bool:
    try:
        found = parts.supervisord(site)
    except FaultError:
        return False
    return found != victim and Supervisord(site.home.supervisor_socket).answers()


def _runs(site: Site, name: str) -> bool:
    """Whether what it runs by this name is the process that leads it, or stands in for that one."""
    lives = parts.leader(site, name)
    for one in Supervisord(site.home.supervisor_socket).programs():
        if one.name == name and lives and one.state in ("STARTING", "RUNNING"):
            its = process.find(one.pid)
            return its is not None and (its == lives or STAND_IN in process.title(its))
    return False
