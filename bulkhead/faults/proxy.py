"""nginx's processes, found without asking supervisord."""

from bulkhead.control import nginx, process
from bulkhead.control.process import Process
from bulkhead.faults import parts
from bulkhead.faults.base import FaultError, Site

MASTER, WORKER = "nginx: master process", "nginx: worker process"


def master(site: Site) -> Process:
    """The master that leads nginx; what is only about to become nginx is none yet.

    Raises:
        FaultError: there is none.
    """
    found = parts.leader(site, "nginx")
    if found is None or not process.title(found).startswith(MASTER):
        raise FaultError("no live process: nginx")
    return found


def workers(master: Process) -> list[Process]:
    """The workers that take new connections, eldest first; one that drains says so in its title."""
    found = ((one, process.title(one)) for one in process.children(master.pid))
    return [
        one for one, title in found if title.startswith(WORKER) and "shutting down" not in title
    ]


def generation(site: Site) -> str:
    """The configuration that nginx answers with, or "" when it does not answer."""
    return nginx.generation(site.home.internal_socket)


def answers(site: Site) -> bool:
    """Whether nginx answers."""
    return bool(generation(site))
