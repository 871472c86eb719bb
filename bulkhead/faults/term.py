"""term: an instance is told to stop, as by a deploy or an operator. It drains and exits."""

from signal import SIGTERM

from bulkhead.faults import signals
from bulkhead.faults.base import Fault, Site, Steps, Targets, register
from bulkhead.faults.proof import HELD_S


@register
class Term(Fault):
    """SIGTERM to the process that supervisord runs; a master passes it on to its workers."""

    name = "term"

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Tell them, wait out the drain, and then until another process accepts."""
        victims = signals.living(site, targets)
        drain_s = max(site.topology.services[one.service].grace_s for one in targets)
        try:
            signals.send([found for one in targets if (found := site.find(one))], SIGTERM)
            yield signals.gone(site, victims, drain_s + HELD_S)
        finally:
            undone = signals.back(site, targets)
        return undone
