"""kill: an instance crashes. Its sockets are closed by the kernel, nothing is finished."""

from signal import SIGKILL, SIGSTOP
from typing import Annotated

from pydantic import Field

from bulkhead.faults import signals
from bulkhead.faults.base import Fault, Site, Steps, Targets, register


@register
class Kill(Fault):
    """SIGKILL of every process of the targets. supervisord starts them again."""

    name = "kill"

    class Params(Fault.Params):
        """A process that is frozen for a moment first surely dies with requests in hand."""

        freeze_s: Annotated[float, Field(ge=0, le=10)] = 0.0

    params: Params

    def heal(self, site: Site, targets: Targets) -> None:
        """Continue what was frozen and not killed."""
        signals.resume(site, targets)

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Kill; undone is that another process accepts, which only supervisord can bring about."""
        victims = signals.living(site, targets)
        try:
            if self.params.freeze_s:
                signals.send(victims, SIGSTOP)
                site.ending.wait(self.params.freeze_s)
            signals.send(victims, SIGKILL)
            yield signals.gone(site, victims)
        finally:
            self.heal(site, targets)
            undone = signals.back(site, targets)
        return undone
