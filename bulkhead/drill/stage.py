"""The stack that a drill runs on: one of its own, fresh and gone afterwards, or the one that is up.

A drill's own stack lives in the folder `drill` of the home folder, on free ports.
"""

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bulkhead import interrupts
from bulkhead.drill import leftovers
from bulkhead.drill.spec import Drill, fits
from bulkhead.errors import ConfigError, StateError
from bulkhead.faults import disk
from bulkhead.faults.contract import Site
from bulkhead.hosts import KINDS
from bulkhead.render.paths import Home
from bulkhead.supervise import record, start, stop
from bulkhead.supervise.home import Say
from bulkhead.supervise.preflight import listeners
from bulkhead.topology.model import Topology
from bulkhead.topology.parse import assign, home_of, load, resolve

# Below the range from which the kernel takes ports for outgoing connections (32768).
FIRST_PORT, LAST_PORT = 18_000, 19_900
MOST_INSTANCES = 64  # of one service, by topology/model.py


@contextmanager
def own(
    path: Path, drill: Drill, assignments: Sequence[str], kind: str, say: Say
) -> Iterator[Site]:
    """Start a stack from the topology in `path`, with the drill's settings and then the user's.

    If it is to have several hosts they are of that kind.
    StateError if another drill is running in this home folder, or there can be no such hosts.
    ConfigError, StartError as `bulkhead up`. HostError if a host did not start.
    """
    home = leftovers.folder(Home(home_of(path, assignments)))
    count = drill.file.hosts.application if drill.file.hosts else 0
    with leftovers.alone(home):
        leftovers.remove(home, say)
        settings = [*drill.file.settings, *assignments]
        place = [f'stack.home="{home}"']
        if not count:
            settings = [*_free_ports(), *settings]
            place.append("stack.name=drill")
        topology = _require_evidence(load(path, [*settings, *place]))
        fits(drill, topology)
        hosts = None
        if count:
            say(f"{drill.name}: starting hosts as {kind}")
            hosts = KINDS[kind](topology, settings, home, count)
        try:
            if hosts:
                hosts.start_all()
                running = record.read(hosts.proxy)
                assert running, "a proxy that runs has left its record"
                yield Site(hosts.proxy, topology, running, hosts)
            else:
                disk.mount(home, drill.file.volumes)
                start.up(topology, lambda _line: None)
                yield Site(Home(home), topology, record.require(Home(home)))
        finally:
            with interrupts.signals_deferred():  # it takes seconds, and must not be cut short
                if hosts:
                    hosts.end_all()
                else:
                    stop.down(Home(home), lambda _line: None)
                    disk.unmount(home)


@contextmanager
def here(home: Home, drill: Drill, assignments: Sequence[str]) -> Iterator[Site]:
    """Use the stack that is up, as it is.

    StateError if it is not up. ConfigError if it runs with other settings than the drill is about.
    """
    running = record.require_whole(home)
    topology = _require_evidence(running.resolved())
    fits(drill, topology)
    settings = [*drill.file.settings, *assignments]
    wanted = copy.deepcopy(running.topology)
    for assignment in settings:
        assign(wanted, assignment)
    if resolve(wanted, Path(running.source)).file != topology.file:
        raise ConfigError(
            f"{drill.path.name}: {' '.join(settings)}: is not in force in the stack that is up; "
            "omit --here, and the drill starts a stack of its own"
        )
    yield Site(home, topology, running)


def _require_evidence(topology: Topology) -> Topology:
    if not topology.file.stack.rows:
        raise ConfigError(
            f"{topology.source}: stack.rows = false: a drill accounts for every request by the "
            "stack's rows; set it to true"
        )
    return topology


def _free_ports() -> list[str]:
    """Assignments that put the proxy and every service on ports that nobody listens on."""
    taken = {listener.port for listener in listeners()}
    block = 1 + 2 * MOST_INSTANCES
    blocks = list(range(FIRST_PORT, LAST_PORT - block, block))
    # Two drills that start at one moment see the same free ports: let each look elsewhere first.
    offset = os.getpid() % len(blocks)
    for first in blocks[offset:] + blocks[:offset]:
        if not taken & set(range(first, first + block)):
            return [
                f"proxy.listen=127.0.0.1:{first}",
                f"services.api.port={first + 1}",
                f"services.web.port={first + 1 + MOST_INSTANCES}",
            ]
    raise StateError(f"no block of {block} free ports is left from {FIRST_PORT} to {LAST_PORT}")
