"""refuse: an instance is stopped and stays stopped. Whoever connects is refused at once."""

import socket

from bulkhead.faults import signals, supervised
from bulkhead.faults.base import CONNECT_S, Fault, Site, Steps, Targets, register
from bulkhead.faults.proof import held
from bulkhead.topology.model import Instance


@register
class Refuse(Fault):
    """supervisord stops the targets (they drain), and starts them at the end."""

    name = "refuse"

    def heal(self, site: Site, targets: Targets) -> None:
        """Start whatever is stopped."""
        supervised.start(site, targets)

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Stop them; held is a refused connect, undone an accepted one."""
        names = ", ".join(one.name for one in targets)
        try:
            supervised.stop(site, targets)
            held(site, f"{names}: connects are refused", lambda: all(map(refuses, targets)))
            yield f"{names}: stopped, connects are refused"
        finally:
            self.heal(site, targets)
            undone = signals.back(site, targets)
        return undone


def refuses(one: Instance) -> bool:
    """Whether the kernel says at once that nobody listens at its address."""
    with socket.socket() as trial:
        trial.settimeout(CONNECT_S)
        try:
            trial.connect((one.host, one.port))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        # A port that the kernel may give to clients can meet itself: nobody listens there either.
        return bool(trial.getsockname() == trial.getpeername())
