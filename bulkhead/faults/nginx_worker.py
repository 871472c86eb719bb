"""nginx_worker: a worker of nginx crashes, and every connection that it held with it."""

from signal import SIGKILL
from typing import Annotated

from pydantic import Field

from bulkhead.control import process
from bulkhead.faults import parts, proxy, signals
from bulkhead.faults.base import Fault, FaultError, Site, Steps, Targets, register
from bulkhead.faults.proof import undone


@register
class NginxWorker(parts.OnPart):
    """SIGKILL of one worker; nginx's master starts another."""

    name = "nginx_worker"

    class Params(Fault.Params):
        """Which worker: 0 is the eldest."""

        index: Annotated[int, Field(ge=0, le=63)] = 0

    params: Params

    def hold(self, site: Site, targets: Targets) -> Steps:  # noqa: ARG002 - there is one nginx
        """Kill it; undone is that as many as before run again."""
        master = proxy.master(site)
        before = proxy.workers(master)
        if self.params.index >= len(before):
            raise FaultError(
                f"nginx has {len(before)} workers, none with index {self.params.index}"
            )
        victim = before[self.params.index]
        try:
            process.send(victim, SIGKILL)
            yield signals.gone(site, [victim])
        finally:
            undone(
                f"must have {len(before)} workers again",
                ("nginx",),
                lambda _: len(proxy.workers(master)) >= len(before),
            )
        return f"workers: {signals.pids(proxy.workers(master))}"
