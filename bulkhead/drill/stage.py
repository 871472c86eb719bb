"""The stack that a drill runs on: one of its own, fresh and gone afterwards, or the one that is up.

A drill's own stack lives in the folder `drill` of the home folder, on free ports, with an empty
ledger. Whatever an interrupted drill left there is stopped and removed first.
"""

import copy
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bulkhead.control import interrupts, record, stack
from bulkhead.control.ports import listeners
from bulkhead.control.start import Say
from bulkhead.drill import volumes
from bulkhead.drill.spec import Drill, fits
from bulkhead.errors import ConfigError, StateError
from bulkhead.faults.base import Site
from bulkhead.hosts.kinds import KINDS
from bulkhead.render.paths import Home
from bulkhead.topology.load import assign, home_of, load, resolve
from bulkhead.topology.model import Topology

# Below the range from which the kernel takes ports for outgoing connections (32768).
FIRST_PORT, LAST_PORT = 18_000, 19_900
MOST_INSTANCES = 64  # of one service, by topology/model.py


@contextmanager
def own(path: Path, drill: Drill, assignments: Sequence[str], say: Say) -> Iterator[Site]:
    """Start a stack from the topology in `path`, with the drill's settings and then the user's.

    Raises:
        StateError: another drill is running in this home folder.
        ConfigError, StartError: as `bulkhead up`.
    """
    home = home_of(path, assignments) / "drill"
    with _alone(home):
        _clear(home, say)
        place = [f'stack.home="{home}"', "stack.name=drill"]
        settings = [*_free_ports(), *drill.file.settings, *assignments, *place]
        topology = _require_evidence(load(path, settings))
        fits(drill, topology)
        try:
            volumes.mount(home, drill.file.volumes)
            stack.up(topology, lambda _line: None)
            yield _site(topology)
        finally:
            with interrupts.held():  # it takes seconds, and must not be cut short
                stack.down(Home(home), lambda _line: None)
                volumes.unmount(home)


@contextmanager
def hosts(
    path: Path, drill: Drill, assignments: Sequence[str], kind: str, say: Say
) -> Iterator[Site]:
    """Start a stack on several hosts of that kind, with the settings as for `own`.

    Raises:
        StateError: another drill is running in this home folder, or there can be no such hosts.
        ConfigError, StartError, HostError: one of them did not start.
    """
    assert drill.file.hosts
    home = home_of(path, assignments) / "drill"
    with _alone(home):
        _clear(home, say)
        settings = [*drill.file.settings, *assignments]
        topology = _require_evidence(load(path, [*settings, f'stack.home="{home}"']))
        fits(drill, topology)
        say(f"{drill.name}: starting hosts as {kind}")
        made = KINDS[kind](topology, settings, home, drill.file.hosts.application)
        try:
            made.begin()
            found = record.read(made.proxy)
            assert found, "a proxy that runs has left its record"
            yield Site(made.proxy, topology, found, hosts=made)
        finally:
            with interrupts.held():  # as above
                made.end()


@contextmanager
def here(home: Home, drill: Drill, assignments: Sequence[str]) -> Iterator[Site]:
    """Use the stack that is up, as it is.

    Raises:
        StateError: it is not up.
        ConfigError: it runs with other settings than the drill is about.
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
            "leave --here away, and the drill starts a stack of its own"
        )
    yield _site(topology)


def clear(home: Home, say: Say) -> None:
    """Stop what an interrupted drill may have left in this home folder.

    Raises:
        StateError: a drill is running there.
    """
    path = home.path / "drill"
    if path.exists():
        with _alone(path):
            _clear(path, say)


def _site(topology: Topology) -> Site:
    home = Home(topology.home)
    return Site(home, topology, record.require(home))


def _require_evidence(topology: Topology) -> Topology:
    if not topology.file.stack.rows:
        raise ConfigError(
            f"{topology.source}: stack.rows = false: a drill accounts for every request by the "
            "stack's rows; set it to true"
        )
    return topology


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One drill at a time may have a stack of its own in a home folder."""
    home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                f"another drill is running in {home}: wait for it to end, or give this one a home "
                "of its own with --set stack.home=FOLDER"
            ) from None
        yield


def _clear(home: Path, say: Say) -> None:
    found = record.read(Home(home))
    if found and found.members():
        say("an interrupted drill has left its stack behind; stopping it")
        stack.down(Home(home), say)
    for kind in KINDS.values():
        kind.clear(home)
    volumes.unmount(home)
    shutil.rmtree(home, ignore_errors=True)


def _free_ports() -> list[str]:
    """Assignments that put the proxy and every service on ports that nobody listens on."""
    taken = {one.port for one in listeners()}
    block = 1 + 2 * MOST_INSTANCES
    blocks = list(range(FIRST_PORT, LAST_PORT - block, block))
    # Two drills that start at one moment see the same free ports: let each begin elsewhere.
    begin = os.getpid() % len(blocks)
    for first in blocks[begin:] + blocks[:begin]:
        if not taken & set(range(first, first + block)):
            return [
                f"proxy.listen=127.0.0.1:{first}",
                f"services.api.port={first + 1}",
                f"services.web.port={first + 1 + MOST_INSTANCES}",
            ]
    raise StateError(f"no block of {block} free ports is left from {FIRST_PORT} to {LAST_PORT}")
