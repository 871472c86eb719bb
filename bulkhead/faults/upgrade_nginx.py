"""upgrade_nginx: an operator lets the nginx on disk take over from the one that runs."""

from bulkhead.control import process
from bulkhead.faults import operator, parts, proxy, signals
from bulkhead.faults.base import Site, Steps, Targets, register
from bulkhead.faults.proof import held, undone

WATCHLESS = "nobody would let the old workers go: stack.watch"


@register
class UpgradeNginx(parts.OnPart):
    """`bulkhead upgrade nginx`: another master, other workers, the same listening sockets."""

    name = "upgrade_nginx"
    patience_s = operator.patience_s(1)

    def available(self, site: Site) -> str:
        """It is the watchdog that retires the old workers."""
        return "" if site.topology.file.stack.watch else WATCHLESS

    def hold(self, site: Site, targets: Targets) -> Steps:  # noqa: ARG002 - there is one nginx
        """Upgrade; there is nothing to undo, since the binary is what is installed."""
        was = proxy.master(site)
        old = (was, *proxy.workers(was))
        operator.command(site, "upgrade", "nginx")
        held(site, "the old nginx has ended", lambda: not any(map(process.alive, old)))
        now = proxy.master(site)
        yield f"pids: {signals.pids([now, *proxy.workers(now)])}, no more {signals.pids(old)}"
        undone("must answer", ("nginx",), lambda _: proxy.answers(site))
        return f"nothing to undo; workers: {signals.pids(proxy.workers(proxy.master(site)))}"
