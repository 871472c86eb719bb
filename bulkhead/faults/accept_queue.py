"""accept_queue: an instance hangs and its accept queue is full, so that connects time out."""

import resource
import socket
from functools import partial
from pathlib import Path

from bulkhead.faults import signals
from bulkhead.faults.base import Fault, FaultError, Site, Steps, Targets, register
from bulkhead.faults.proof import held
from bulkhead.topology.model import Instance

# A connect on this machine is done within the call or not at all: the kernel drops the handshake
# when the queue is full, and the client sends it again after a second.
FULL_S = 0.5


@register
class AcceptQueue(Fault):
    """The targets are stopped and get idle connections until no more is taken."""

    name = "accept_queue"

    def heal(self, site: Site, targets: Targets) -> None:
        """Continue whatever is stopped."""
        signals.resume(site, targets)

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Stop and fill them; held is a connect that times out."""
        signals.living(site, targets)
        idle: list[socket.socket] = []
        _allow_files()
        try:
            signals.freeze(site, targets)
            for one in targets:
                held(site, f"{one.name}: connects time out", partial(_fill, one, idle))
            waiting = (f"{one.name} has {queued(one)} in its queue" for one in targets)
            yield f"{', '.join(waiting)}, connects time out after {FULL_S} s"
        finally:
            for connection in idle:
                connection.close()
            self.heal(site, targets)
            undone = signals.answering(site, targets)
        return undone


def queued(one: Instance) -> int:
    """How many connections the kernel keeps for whoever listens there, as /proc/net/tcp tells."""
    address = socket.inet_aton(one.host)[::-1].hex().upper()
    wanted = {f"{address}:{one.port:04X}", f"00000000:{one.port:04X}"}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] in wanted and fields[3] == "0A":  # LISTEN
            return int(fields[4].partition(":")[2], 16)
    return 0


def _fill(one: Instance, idle: list[socket.socket]) -> bool:
    """Open some connections, kept in `idle`; True when one is not taken any more."""
    for _ in range(100):
        connection = socket.socket()
        idle.append(connection)
        connection.settimeout(FULL_S)
        try:
            connection.connect((one.host, one.port))
        except TimeoutError:
            idle.pop().close()
            return queued(one) > 0
        except OSError as error:
            raise FaultError(f"{one.name}: its queue cannot be filled: {error}") from error
    return False


def _allow_files() -> None:
    """Let this process open as many files as it may: a queue holds up to some thousands."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
