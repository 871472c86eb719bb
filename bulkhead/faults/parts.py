"""The parts of a stack that are no instances, found without asking supervisord."""

from typing import ClassVar

from bulkhead.control import record
from bulkhead.control.process import Process
from bulkhead.faults.base import Fault, FaultError, Site


class OnPart(Fault):
    """A fault that is done to one part of the stack; `part` is what a drill calls it.

    There are no instances to choose among, so it gets no targets.
    """

    on = "proxy"
    part: ClassVar[str] = "nginx"


def leader(site: Site, program: str) -> Process | None:
    """The live process that leads a program, as the launcher has noted it."""
    return record.leader(site.home, program)


def supervisord(site: Site) -> Process:
    """The supervisord that leads the stack now; it may not be the one that the run began with.

    Raises:
        FaultError: there is none.
    """
    found = record.read(site.home)
    if found is None or not found.leads():
        raise FaultError("no live process: supervisord")
    return found.supervisord


def leaders(site: Site) -> dict[str, Process]:
    """The process of every instance that has one, by the instance's name."""
    found = {one.name: site.find(one) for one in site.topology.instances()}
    return {name: one for name, one in found.items() if one}
