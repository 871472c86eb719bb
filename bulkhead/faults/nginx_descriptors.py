"""nginx_descriptors: nginx's workers have used up the files that they may open."""

from bulkhead.control import nginx
from bulkhead.faults import limits, parts, proxy, signals
from bulkhead.faults.base import Site, Steps, Targets, register
from bulkhead.faults.proof import held, undone


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
        before: limits.Limits = {}
        try:
            before = limits.lower(victims)
            held(
                site,
                f"can open nothing: {signals.pids(victims)}",
                lambda: all(limits.soft(one) < limit for one, limit in before.items()),
            )
            told = (f"{one.pid} at {limits.soft(one)}" for one in before)
            yield f"may open nothing more: pid {', '.join(told)}"
        finally:
            limits.restore(before)
            self.heal(site, targets)
            undone(
                "must answer",
                ("nginx",),
                lambda _: bool(nginx.generation(site.home.internal_socket)),
            )
        return f"answers, and may open files again: {signals.pids(victims)}"
