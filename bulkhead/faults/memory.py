"""memory: an instance holds more and more memory, as with a leak."""

from typing import Annotated

from pydantic import Field

from bulkhead.control import process
from bulkhead.faults import admin
from bulkhead.faults.base import Fault, Site, Steps, Targets, register
from bulkhead.faults.proof import HELD_S, held, undone

# 16 MB every 50 ms at best, and much less on a busy machine.
GROWTH_S_PER_MB = 0.05
# It may give something else back meanwhile, and under load grow a little by itself.
GROWN, KEPT = 0.95, 0.2


@register
class Memory(admin.Told):
    """Every process of the targets holds `memory_mb` more, touched, until it is undone."""

    name = "memory"

    class Params(Fault.Params):
        """How much for each process."""

        memory_mb: Annotated[int, Field(ge=16, le=1024)]

    params: Params

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Let them grow; both proofs are the kernel's figure of their memory in RAM."""
        more = self.params.memory_mb
        before = {
            one: process.resident_mb(one) for target in targets for one in site.processes(target)
        }
        try:
            told = admin.tell(admin.listening(site, targets), memory_mb=more)
            held(
                site,
                f"every process has grown by {more} MB",
                lambda: all(
                    process.resident_mb(one) - before.get(one, 0.0) >= GROWN * more for one in told
                ),
                HELD_S + more * GROWTH_S_PER_MB,
            )
            yield f"every process of {', '.join(one.name for one in targets)} has {more} MB more"
        finally:
            admin.clear(site, targets)
            undone(
                f"must be smaller again by most of {more} MB",
                tuple(before),
                lambda one: process.resident_mb(one) <= before[one] + KEPT * max(before[one], more),
            )
        return "each has given it back"
