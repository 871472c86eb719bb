"""noop: nothing is done. A drill with it shows what the driver itself costs."""

from bulkhead.faults.base import Fault, Site, Steps, Targets, register


@register
class Noop(Fault):
    """Does nothing to its targets, and so has nothing to undo."""

    name = "noop"

    def hold(self, site: Site, targets: Targets) -> Steps:  # noqa: ARG002 - nothing is done
        """Yield, and that is all."""
        yield "nothing was done"
        return "nothing was done"
