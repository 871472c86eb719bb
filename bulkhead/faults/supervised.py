"""Stopping and starting instances through supervisord's own calls, all targets at once."""

import xmlrpc.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bulkhead.control.supervisord import GONE, Program, Supervisord
from bulkhead.faults.base import FaultError, Site, Targets
from bulkhead.faults.proof import HELD_S, undone
from bulkhead.render.supervisor import STOP_MARGIN_S
from bulkhead.topology.model import Instance

ALREADY_STARTED = 60  # supervisor/xmlrpc.py, Faults


def stop(site: Site, targets: Targets) -> None:
    """Let supervisord stop the targets and leave them stopped; returns when all have ended.

    Raises:
        FaultError: supervisord would not.
    """

    def stop_one(one: Instance) -> None:
        with _asking(f"stop {one.name}"):
            supervisord = _supervisord(site, one)
            supervisord.stop(_program(supervisord, one))

    _each(stop_one, targets)


def start(site: Site, targets: Targets) -> None:
    """Let supervisord start what of the targets it does not run or is not just starting.

    It returns when supervisord has done so: nothing serves yet.

    Raises:
        FaultError: supervisord would not.
    """

    def start_one(one: Instance) -> None:
        with _asking(f"start {one.name}"):
            supervisord = _supervisord(site, one)
            undone(
                "is still being stopped",
                (one,),
                lambda one: _program(supervisord, one).state != "STOPPING",
                _stop_s(site, one),
            )
            program = _program(supervisord, one)
            if program.state == "BACKOFF":  # waiting to try again, by now perhaps for long
                supervisord.stop(program)
            elif program.state in ("STARTING", "RUNNING"):
                return
            supervisord.start(program)

    _each(start_one, targets)


def _each(act: Callable[[Instance], None], targets: Targets) -> None:
    """supervisord answers a call when its work is done, so each target has a call of its own."""
    with ThreadPoolExecutor(len(targets)) as pool:
        list(pool.map(act, targets))


@contextmanager
def _asking(what: str) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as error:
        if error.faultCode != ALREADY_STARTED:
            raise FaultError(f"supervisord could not {what}: {error.faultString}") from error
    except GONE as error:
        raise FaultError(f"supervisord could not {what}: {error}") from error


def _supervisord(site: Site, one: Instance) -> Supervisord:
    return Supervisord(site.home.supervisor_socket, _stop_s(site, one))


def _stop_s(site: Site, one: Instance) -> float:
    """How long a stop may take, its drain included."""
    return site.topology.services[one.service].grace_s + STOP_MARGIN_S + HELD_S


def _program(supervisord: Supervisord, one: Instance) -> Program:
    for program in supervisord.programs():
        if program.name == one.name:
            return program
    raise FaultError(f"supervisord has no program {one.name}")
