"""hang_worker: one worker of a gunicorn instance stops moving; its master and the others go on."""

from signal import SIGSTOP
from typing import Annotated

from pydantic import Field

from bulkhead.control import process
from bulkhead.faults import signals, workers
from bulkhead.faults.base import Fault, Site, Steps, Targets, register
from bulkhead.faults.proof import held


@register
class HangWorker(Fault):
    """SIGSTOP of one worker of each target, SIGCONT at the end, if it still lives."""

    name = "hang_worker"

    class Params(Fault.Params):
        """Which worker: 0 is the eldest."""

        index: Annotated[int, Field(ge=0, le=15)] = 0

    params: Params

    def heal(self, site: Site, targets: Targets) -> None:
        """Continue whatever is stopped."""
        signals.resume(site, targets)

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Stop it; undone is that the instance answers with all its workers, and none stopped."""
        victims = workers.pick(site, targets, self.params.index)
        try:
            signals.send(victims, SIGSTOP)
            proof = f"stopped: {signals.pids(victims)}"
            held(site, proof, lambda: all(map(process.stopped, victims)))
            yield proof
        finally:
            self.heal(site, targets)
            undone = workers.complete(site, targets)
        return undone
