"""kill_master: the master of a gunicorn instance crashes, alone. Its workers hold the port."""

from signal import SIGKILL

from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.faults import signals, workers
from bulkhead.faults.base import Fault, Site, Steps, Targets, register
from bulkhead.faults.proof import UNDONE_S, undone


@register
class KillMaster(Fault):
    """SIGKILL of the process that supervisord runs, and of none of its workers."""

    name = "kill_master"

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Kill; undone is a new master with workers of its own, and not one of the old ones."""
        old = {one.name: workers.of(site, one) for one in targets}
        victims = [found for one in targets if (found := site.find(one))]
        grace_s = max(site.topology.services[one.service].grace_s for one in targets)
        try:
            signals.send(victims, SIGKILL)
            yield signals.gone(site, victims)
        finally:
            strays: tuple[Process, ...] = tuple(each for some in old.values() for each in some)
            undone(
                "must have ended", strays, lambda one: not process.alive(one), grace_s + UNDONE_S
            )
            proof = workers.complete(site, targets, grace_s + UNDONE_S)
        return f"{proof}; no more {signals.pids(strays)}"
