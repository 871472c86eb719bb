"""scale: an operator adds instances to a running stack, and takes them away again."""

from typing import Annotated

from pydantic import Field

from bulkhead.control import record
from bulkhead.faults import operator, signals
from bulkhead.faults.base import Fault, FaultError, Site, Steps, Targets, register
from bulkhead.faults.proof import held, undone
from bulkhead.topology.model import Instance


@register
class Scale(Fault):
    """`bulkhead scale` of the targets' service, and `bulkhead reload` to return to the topology."""

    name = "scale"
    patience_s = operator.patience_s(3)  # heal what an earlier one has left, scale, and heal

    class Params(Fault.Params):
        """How many instances there are to be beside those of the topology for a while."""

        more_instances: Annotated[int, Field(ge=1, le=60)]

    params: Params

    def heal(self, site: Site, targets: Targets) -> None:  # noqa: ARG002 - of the whole stack
        """Return to the topology that the run began with."""
        if record.require(site.home).topology != site.record.topology:
            operator.command(site, "reload")

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Add; held is that each of the new ones answers, undone that nobody listens there."""
        signals.living(site, targets)
        service = targets[0].service
        before = site.topology.instances(service)
        try:
            number = len(before) + self.params.more_instances
            operator.command(site, "scale", f"{service}={number}")
            added = new(site, service, before)
            held(site, "the new instances answer", lambda: all(map(site.answers, added)))
            yield f"answer: {', '.join(one.name for one in added)}"
        finally:
            self.heal(site, targets)
        undone("must have ended", added, lambda one: not site.find(one) and not site.accepts(one))
        undone("must answer", tuple(before), site.answers)
        return f"ended: {', '.join(one.name for one in added)}; all others answer"


def new(site: Site, service: str, before: list[Instance]) -> Targets:
    """The instances that a service has now and had not before.

    Raises:
        FaultError: there are none.
    """
    names = {one.name for one in before}
    now = record.require(site.home).resolved().instances(service)
    found = tuple(one for one in now if one.name not in names)
    if not found:
        raise FaultError(f"did not take hold: {service} has {len(now)} instances, as before")
    return found
