"""roll: an operator deploys, one instance after the other."""

from bulkhead.control.process import Process
from bulkhead.faults import operator, parts, signals
from bulkhead.faults.base import Fault, Site, Steps, Targets, register
from bulkhead.faults.proof import held, undone


@register
class Roll(Fault):
    """`bulkhead roll` of the targets: each leaves the rotation, finishes, and starts anew."""

    name = "roll"
    patience_s = operator.patience_s(1)

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Roll; there is nothing to undo. Held is that another process leads each of them."""
        signals.living(site, targets)
        old = parts.leaders(site)
        names = [one.name for one in targets]
        operator.command(site, "roll", *names)

        def anew() -> dict[str, Process]:
            new = parts.leaders(site)
            return {one: new[one] for one in names if one in new and new[one] != old[one]}

        held(site, "another process leads each of them", lambda: len(anew()) == len(names))
        yield "; ".join(f"{one}: pid {old[one].pid}, now {new.pid}" for one, new in anew().items())
        undone("must answer", targets, site.answers)
        return "nothing to undo; every one of them answers"
