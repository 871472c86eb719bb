"""host_kill: a host crashes: all of its processes are gone at once. Later it is started again."""

from bulkhead.faults.base import Fault, register
from bulkhead.faults.hosted import OnHost
from bulkhead.hosts.base import Hosts


@register
class HostKill(OnHost):
    """SIGKILL of every process of the host, as `docker kill` does; then its network is gone."""

    name = "host_kill"
    proof = "no process is left"

    class Params(Fault.Params):
        """Unplugged first, its kernel cannot say goodbye: as when its power fails."""

        unplugged: bool = False

    params: Params

    def begin(self, hosts: Hosts, host: str) -> None:
        """Kill."""
        if self.params.unplugged:
            hosts.cut(host)
        hosts.kill(host)

    def in_force(self, hosts: Hosts, host: str) -> bool:
        """Nothing runs there."""
        return not hosts.runs(host)

    def end(self, hosts: Hosts, host: str) -> None:
        """Plug in and start."""
        hosts.join(host)
        hosts.start(host)
