"""descriptors: an instance has used up the files that it may open: no new connection, no file."""

from bulkhead.faults import limits, signals
from bulkhead.faults.base import Fault, Site, Steps, Targets, register
from bulkhead.faults.proof import held


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
        before: limits.Limits = {}
        try:
            before = limits.lower(victims)
            held(
                site,
                f"can open nothing: {signals.pids(victims)}",
                lambda: all(limits.soft(one) < limit for one, limit in before.items()),
            )
            told = (f"{one.pid} at {limits.soft(one)}" for one in before)
            yield f"may open nothing more: pid {', '.join(told)}"
        finally:
            limits.restore(before)
            self.heal(site, targets)
            undone = signals.answering(site, targets)
        return undone
