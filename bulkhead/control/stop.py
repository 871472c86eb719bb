"""Stopping: supervisord stops what it started; whatever is left when its time is up is killed."""

from signal import SIGKILL, SIGTERM

from bulkhead.clock import now, wait_until
from bulkhead.control import process, record
from bulkhead.control.record import Record
from bulkhead.control.supervisord import GONE, Supervisord
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import STOP_MARGIN_S
from bulkhead.topology.model import Topology

KILLED_S = 5  # how long the kernel may take to end a killed process


def stop(found: Record) -> None:
    """End every process of the stack and remove its sockets and its record."""
    topology = found.resolved()
    home = Home(topology.home)
    patience = patience_s(topology)
    if found.leads():
        _shut_down(found, Supervisord(home.supervisor_socket, timeout_s=2), patience)
    for number, limit in ((SIGTERM, patience), (SIGKILL, KILLED_S)):
        for one in found.members():
            process.send(one, number)
        wait_until(lambda: not found.members(), limit)
    home.supervisor_socket.unlink(missing_ok=True)
    home.internal_socket.unlink(missing_ok=True)
    record.remove(home)


def patience_s(topology: Topology) -> float:
    """The longest a full stop may take: supervisord stops its groups one after the other."""
    graces = [topology.proxy.grace_s, *(one.grace_s for one in topology.services.values())]
    return sum(grace + STOP_MARGIN_S for grace in graces) + STOP_MARGIN_S


def _shut_down(found: Record, supervisord: Supervisord, patience: float) -> None:
    try:
        supervisord.shutdown()
    except GONE:
        process.send(found.supervisord, SIGTERM)
    deadline = now() + patience
    while now() < deadline and not process.wait_gone(found.supervisord, 0.02):
        # Each call turns supervisord's loop once; by itself it turns once a second.
        supervisord.answers()
