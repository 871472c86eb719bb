"""roll: an operator deploys, one instance after the other."""

from bulkhead.faults import operator, signals
from bulkhead.faults.base import Fault, Site, Steps, Targets, register
from bulkhead.faults.proof import held, undone


@register
class Roll(Fault):
    """`bulkhead roll` of the targets: each leaves the rotation, finishes, and starts anew."""

    name = "roll"

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Roll; there is nothing to undo. Held is that another process leads each of them."""
        signals.living(site, targets)
        old = {one.name: site.find(one) for one in targets}
        operator.command(site, "roll", *old)

        def anew() -> bool:
            new = {one.name: site.find(one) for one in targets}
            return None not in new.values() and not set(new.items()) & set(old.items())

        held(site, "another process leads each of them", anew)
        found = ((one.name, old[one.name], site.find(one)) for one in targets)
        yield "; ".join(
            f"{name}: pid {was and was.pid}, now {now and now.pid}" for name, was, now in found
        )
        undone("must answer", targets, site.answers)
        return "nothing to undo; every one of them answers"
