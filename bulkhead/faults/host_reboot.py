"""host_reboot: a host is shut down in an orderly way and started again, as for a new kernel."""

from bulkhead.faults.base import register
from bulkhead.faults.hosted import OnHost
from bulkhead.hosts.base import Hosts


@register
class HostReboot(OnHost):
    """Everything on it is told to end, and may finish what it has in hand: `docker stop`."""

    name = "host_reboot"
    proof = "has shut down"

    def begin(self, hosts: Hosts, host: str) -> None:
        """Shut down."""
        hosts.stop(host)

    def in_force(self, hosts: Hosts, host: str) -> bool:
        """Nothing runs there."""
        return not hosts.runs(host)

    def end(self, hosts: Hosts, host: str) -> None:
        """Start."""
        hosts.start(host)
