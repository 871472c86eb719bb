"""hang: an instance stops moving and stays alive: its kernel accepts, nobody answers."""

from bulkhead.faults import signals
from bulkhead.faults.base import Fault, Site, Steps, Targets, register


@register
class Hang(Fault):
    """SIGSTOP of every process of the targets, SIGCONT at the end.

    Something else may kill and restart a hung instance meanwhile; then the new one must answer.
    """

    name = "hang"

    def heal(self, site: Site, targets: Targets) -> None:
        """Continue whatever is stopped."""
        signals.resume(site, targets)

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Stop them; undone is an answer, not the signal."""
        signals.living(site, targets)
        try:
            yield signals.freeze(site, targets)
        finally:
            self.heal(site, targets)
            undone = signals.answering(site, targets)
        return undone
