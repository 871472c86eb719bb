"""kill_worker: one worker of a gunicorn instance crashes, with every request that it had."""

from signal import SIGKILL
from typing import Annotated

from pydantic import Field

from bulkhead.faults import signals, workers
from bulkhead.faults.base import Fault, Site, Steps, Targets, register


@register
class KillWorker(Fault):
    """SIGKILL of one worker of each target; its master starts another."""

    name = "kill_worker"

    class Params(Fault.Params):
        """Which worker: 0 is the eldest."""

        index: Annotated[int, Field(ge=0, le=15)] = 0

    params: Params

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Kill it; undone is that the instance answers with as many as it is to have."""
        victims = workers.pick(site, targets, self.params.index)
        try:
            signals.send(victims, SIGKILL)
            yield signals.gone(site, victims)
        finally:
            proof = workers.complete(site, targets)
        return proof
