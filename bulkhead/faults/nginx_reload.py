"""nginx_reload: nginx reads its configuration again, as at every deploy of a change."""

from signal import SIGHUP

from bulkhead.control import process
from bulkhead.faults import parts, proxy, signals
from bulkhead.faults.base import Site, Steps, Targets, register
from bulkhead.faults.proof import held, undone

RELOADED_S = 10


@register
class NginxReload(parts.OnPart):
    """SIGHUP to nginx: new workers serve, the old ones finish what they have."""

    name = "nginx_reload"

    def hold(self, site: Site, targets: Targets) -> Steps:  # noqa: ARG002 - there is one nginx
        """Reload; there is nothing to undo, since the configuration is the same."""
        master = proxy.master(site)
        old = proxy.workers(master)
        process.send(master, SIGHUP)

        def taken_over() -> bool:
            new = proxy.workers(master)
            return len(new) >= len(old) and not set(new) & set(old) and proxy.answers(site)

        held(site, "new workers of nginx serve, and none of the old", taken_over, RELOADED_S)
        yield f"workers: {signals.pids(proxy.workers(master))}, no more {signals.pids(old)}"
        undone("must answer", ("nginx",), lambda _: proxy.answers(site))
        return f"nothing to undo; workers: {signals.pids(proxy.workers(master))}"
