"""nginx's processes, found without asking supervisord."""

from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.faults.base import FaultError, Site

MASTER, WORKER = "nginx: master process", "nginx: worker process"


def master(site: Site) -> Process:
    """The master that supervisord has started.

    Raises:
        FaultError: there is none.
    """
    for one in process.children(site.record.pid):
        if process.title(one).startswith(MASTER):
            return one
    raise FaultError("no live process: nginx")


def workers(master: Process) -> list[Process]:
    """The workers that take new connections, eldest first; one that drains says so in its title."""
    found = ((one, process.title(one)) for one in process.children(master.pid))
    return [
        one for one, title in found if title.startswith(WORKER) and "shutting down" not in title
    ]
