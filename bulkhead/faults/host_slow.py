"""host_slow: a host has less of a processor than it needs: a noisy neighbour."""

from typing import Annotated

from pydantic import Field

from bulkhead.faults.base import Fault, register
from bulkhead.faults.hosted import OnHost
from bulkhead.hosts.base import Hosts


@register
class HostSlow(OnHost):
    """Everything on the host has a part of the time, or of one processor.

    In containers it is `docker update --cpus`. In namespaces all processes are stopped and let go
    in turn, and while they run they have as many processors as there are.
    """

    name = "host_slow"
    proof = "is slowed down"

    class Params(Fault.Params):
        """How much is left."""

        share: Annotated[float, Field(ge=0.05, le=0.9)] = 0.2

    params: Params

    def begin(self, hosts: Hosts, host: str) -> None:
        """Slow it down."""
        hosts.slow(host, self.params.share)

    def in_force(self, hosts: Hosts, host: str) -> bool:
        """It does not get what it could use."""
        return hosts.slowed(host)

    def end(self, hosts: Hosts, host: str) -> None:
        """Give it all it had."""
        hosts.hasten(host)
