"""What all faults of hosts have in common: a target that is a host, and what proves them."""

from abc import abstractmethod
from contextlib import ExitStack
from typing import cast

from bulkhead.faults.base import Fault, Site, Steps, Targets
from bulkhead.faults.proof import held, undone
from bulkhead.hosts.base import Host, Hosts

# A host boots all that runs on it; PostgreSQL recovers what it had not written down.
BACK_S = 60


class OnHost(Fault):
    """A fault that is done to hosts of a stack that has several."""

    on = "hosts"
    patience_s = 500  # of a command on a host, twice, and of what proves it
    proof: str

    def available(self, site: Site) -> str:
        """There must be hosts."""
        return "" if site.hosts else "this stack is on one host; the drill needs a section [hosts]"

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Do it; undone is a host that does its work again, seen from outside and by the proxy."""
        assert site.hosts  # `available` has looked
        hosts, chosen = site.hosts, cast(tuple[Host, ...], targets)
        names = ", ".join(one.name for one in chosen)
        said = f"{self.proof}: {names}"
        try:
            with ExitStack() as ends:  # it ends all, whatever becomes of one
                for one in reversed(chosen):  # the first that goes is the first that returns
                    ends.callback(self.end, hosts, one.word)
                for one in chosen:
                    self.begin(hosts, one.word)
                held(site, said, lambda: all(self.in_force(hosts, one.word) for one in chosen))
                yield said
        finally:
            undone("must do its work", chosen, lambda one: self._well(hosts, one.word), BACK_S)
        return f"does its work again: {names}"

    def _well(self, hosts: Hosts, host: str) -> bool:
        return not self.in_force(hosts, host) and hosts.answers(host)

    @abstractmethod
    def begin(self, hosts: Hosts, host: str) -> None:
        """Do it to one host."""

    @abstractmethod
    def in_force(self, hosts: Hosts, host: str) -> bool:
        """Whether it is seen to be in force."""

    @abstractmethod
    def end(self, hosts: Hosts, host: str) -> None:
        """Undo it; no matter if it was not done."""
