"""descriptors: an instance has used up the files that it may open: no new connection, no file."""

from bulkhead.faults import limits, signals
from bulkhead.faults.base import Fault, Site, Steps, Targets, register


@register
class Descriptors(Fault):
    """The limit of every process of the targets is lowered to what it has open."""

    name = "descriptors"

    def heal(self, site: Site, targets: Targets) -> None:
        """Raise whatever is lowered."""
        limits.mend((each for one in targets for each in site.processes(one)), site.topology)

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Lower it; undone is the limit that it had, and an answer."""
        victims = signals.living(site, targets)
        try:
            with limits.lowered(site, victims) as proof:
                yield proof
        finally:
            self.heal(site, targets)
            undone = signals.answering(site, targets)
        return undone
