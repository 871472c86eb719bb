"""host_cut: a host is cut off: silence in both directions, and nobody sends a reset."""

from bulkhead.faults.base import register
from bulkhead.faults.hosted import OnHost
from bulkhead.hosts.base import Hosts


@register
class HostCut(OnHost):
    """The host is taken off the network, as `docker network disconnect` does. It runs on."""

    name = "host_cut"
    proof = "runs, and is on no network"

    def begin(self, hosts: Hosts, host: str) -> None:
        """Take it off."""
        hosts.cut(host)

    def in_force(self, hosts: Hosts, host: str) -> bool:
        """It lives, alone."""
        return hosts.runs(host) and not hosts.joined(host)

    def end(self, hosts: Hosts, host: str) -> None:
        """Put it back."""
        hosts.join(host)
