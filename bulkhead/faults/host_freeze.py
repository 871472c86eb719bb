"""host_freeze: nothing on a host moves, and its kernel goes on to accept and to acknowledge."""

from bulkhead.faults.base import register
from bulkhead.faults.hosted import OnHost
from bulkhead.hosts.base import Hosts


@register
class HostFreeze(OnHost):
    """Every process of the host is stopped, as `docker pause` does; its clock goes on."""

    name = "host_freeze"
    proof = "every process is frozen"

    def begin(self, hosts: Hosts, host: str) -> None:
        """Freeze."""
        hosts.freeze(host)

    def in_force(self, hosts: Hosts, host: str) -> bool:
        """None of them can run."""
        return hosts.frozen(host)

    def end(self, hosts: Hosts, host: str) -> None:
        """Let them go on."""
        hosts.thaw(host)
