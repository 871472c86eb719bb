"""The client of the services' admin sockets: it tells live processes what to do wrong.

Each serving process of an instance has a socket of its own, named INSTANCE.PID.sock; what a dead
process has left is passed over. A restarted process does nothing wrong until it is told again.
"""

import json
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.control.unix import UnixConnection
from bulkhead.faults import signals
from bulkhead.faults.base import Fault, FaultError, Site, Targets
from bulkhead.faults.proof import UNDONE_S, held, undone
from bulkhead.topology.model import Instance

ANSWER_S = 2
Doors = dict[Process, Path]


class Told(Fault):
    """A fault that live processes are told over their admin sockets, and told to undo."""

    def available(self, site: Site) -> str:
        """Only over admin sockets."""
        return missing(site)

    def heal(self, site: Site, targets: Targets) -> None:
        """Undo whatever they were told."""
        clear(site, targets)


def missing(site: Site) -> str:
    """Why services cannot be told; empty when they can."""
    if site.topology.file.stack.admin:
        return ""
    return "the services have no admin sockets: stack.admin is false"


def doors(site: Site, one: Instance) -> Doors:
    """The sockets of the live processes of an instance."""
    paths = (
        (each, site.home.admin / f"{one.name}.{each.pid}.sock") for each in site.processes(one)
    )
    return {each: path for each, path in paths if path.exists()}


def listening(site: Site, targets: Targets) -> Doors:
    """Every serving process of the targets, and where each can be told something.

    Raises:
        FaultError: one does not listen.
    """
    signals.living(site, targets)
    for one in targets:
        wanted = site.topology.services[one.service].workers
        held(
            site,
            f"{one.name} has {wanted} processes with an admin socket",
            partial(_all_listen, site, one, wanted),
        )
    return {each: door for one in targets for each, door in doors(site, one).items()}


def tell(whom: Doors, **settings: float) -> Doors:
    """Tell each of them; whom, again.

    Raises:
        FaultError: one does not answer or refuses; others may have been told by then.
    """
    for door in whom.values():
        _ask(door, "PUT", settings)
    return whom


def apply(site: Site, targets: Targets, **settings: float) -> str:
    """Tell every process of the targets, and ask each what it does: the proof."""
    for each, door in tell(listening(site, targets), **settings).items():
        state = _ask(door, "GET")
        if wrong := {
            name: state.get(name) for name in settings if state.get(name) != settings[name]
        }:
            raise FaultError(f"did not take hold: pid {each.pid} says {wrong}")
    names = ", ".join(one.name for one in targets)
    told = ", ".join(f"{name} {value:g}" for name, value in settings.items())
    return f"{names}: every process says {told}"


def clear(site: Site, targets: Targets, timeout_s: float = UNDONE_S) -> str:
    """Undo everything that live processes of the targets were told; each must say so itself."""
    undone(
        "must say that it does nothing wrong",
        targets,
        lambda one: all(_cleared(each, door) for each, door in doors(site, one).items()),
        timeout_s,
    )
    return f"{', '.join(one.name for one in targets)}: no process does anything wrong"


def _all_listen(site: Site, one: Instance, wanted: int) -> bool:
    return len(doors(site, one)) == wanted


def _cleared(told: Process, door: Path) -> bool:
    try:
        state = _ask(door, "DELETE")
    except FaultError:
        return not process.alive(told)
    return not any(state[name] for name in ("slow_ms", "errors_share", "busy_s", "memory_mb"))


def _ask(door: Path, method: str, settings: dict[str, float] | None = None) -> dict[str, Any]:
    """What the process says of itself.

    Raises:
        FaultError: it does not answer or it refuses.
    """
    connection = UnixConnection(door, ANSWER_S)
    try:
        connection.request(method, "/faults", json.dumps(settings) if settings else None)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException) as error:
        raise FaultError(f"{door.name}: {method}: no answer: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise FaultError(f"{door.name}: {method}: {answer.status}: {body.decode(errors='replace')}")
    return dict(json.loads(body))
