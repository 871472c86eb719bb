"""busy_worker: one worker of a gunicorn instance computes and answers nobody."""

from typing import Annotated

from pydantic import Field

from bulkhead.control.process import Process
from bulkhead.faults import admin, workers
from bulkhead.faults.base import Site, Targets, register
from bulkhead.faults.busy import Busy


@register
class BusyWorker(Busy):
    """One worker of each target blocks its event loop for `busy_s`."""

    name = "busy_worker"

    class Params(Busy.Params):
        """For how long, and which worker: 0 is the eldest."""

        index: Annotated[int, Field(ge=0, le=15)] = 0

    params: Params

    def told(self, site: Site, targets: Targets) -> list[Process]:
        """Tell one worker of each."""
        victims = workers.pick(site, targets, self.params.index)
        doors = admin.listening(site, targets)
        return list(admin.tell({one: doors[one] for one in victims}, busy_s=self.params.busy_s))
