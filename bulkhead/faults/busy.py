"""busy: an instance computes and answers nobody, as in an endless loop."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from bulkhead.clock import now, pause
from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.faults import admin, signals
from bulkhead.faults.base import Fault, Site, Steps, Targets, register
from bulkhead.faults.proof import UNDONE_S, held

WINDOW_S = 0.3
SHARE = 0.8


@register
class Busy(Fault):
    """Every process of the targets blocks its event loop for `busy_s`. Nothing ends that sooner."""

    name = "busy"

    class Params(Fault.Params):
        """For how long, counted from the injection and not from the proof."""

        busy_s: Annotated[float, Field(ge=1, le=30)]

    params: Params

    def available(self, site: Site) -> str:
        """Only over admin sockets, and on a kernel that tells how long a process waits to run."""
        told = Path("/proc/self/schedstat").exists()
        return admin.missing(site) or ("" if told else "this kernel has no /proc/PID/schedstat")

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Tell them; undone is that they answer again, on their sockets and at their addresses."""
        signals.living(site, targets)
        try:
            told = self.told(site, targets)
            what = f"wanting a processor for {SHARE:.0%} of {WINDOW_S} s: {signals.pids(told)}"
            held(site, what, lambda: all_busy(told))
            yield what
        finally:
            admin.clear(site, targets, self.params.busy_s + UNDONE_S)
            undone = signals.answering(site, targets)
        return undone

    def told(self, site: Site, targets: Targets) -> list[Process]:
        """Tell every process of the targets."""
        return list(admin.tell(admin.listening(site, targets), busy_s=self.params.busy_s))


def all_busy(told: list[Process]) -> bool:
    """Whether each wanted a processor nearly all the time; on a busy machine it has to wait."""
    began = now()
    before = {one: process.runnable_s(one) for one in told}
    pause(WINDOW_S)
    wanted = SHARE * (now() - began)
    return all(process.runnable_s(one) - before[one] >= wanted for one in told)
