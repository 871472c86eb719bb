"""nginx_descriptors: nginx's workers have used up the files that they may open."""

from bulkhead.faults import limits, parts, proxy, signals
from bulkhead.faults.base import Site, Steps, Targets, register
from bulkhead.faults.proof import undone


@register
class NginxDescriptors(parts.OnPart):
    """The limit of every worker is lowered to what it has open."""

    name = "nginx_descriptors"

    def heal(self, site: Site, targets: Targets) -> None:  # noqa: ARG002 - there is one nginx
        """Raise whatever is lowered."""
        limits.mend(proxy.workers(proxy.master(site)), site.topology)

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Lower it; undone is the limit that they had, and an answer."""
        victims = proxy.workers(proxy.master(site))
        try:
            with limits.lowered(site, victims) as proof:
                yield proof
        finally:
            self.heal(site, targets)
            undone("must answer", ("nginx",), lambda _: proxy.answers(site))
        return f"answers, and may open files again: {signals.pids(victims)}"
