"""Stopping: supervisord stops what it started; whatever is left when its time is up is killed."""

from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM

from bulkhead.clock import now, wait_until
from bulkhead.control import process, record
from bulkhead.control.process import Process
from bulkhead.control.record import Record
from bulkhead.control.supervisord import Supervisord
from bulkhead.errors import StateError
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import STOP_MARGIN_S
from bulkhead.topology.model import Topology

ANSWER_S = 2  # a supervisord that takes longer for one call hangs
KILLED_S = 10  # how long the kernel may take to end killed processes


def stop(found: Record) -> None:
    """End every process of the stack and remove its sockets and its record.

    Raises:
        StateError: the kernel did not end a killed process; the record stays, to try again.
    """
    topology = found.resolved()
    home = Home(topology.home)
    if found.leads():
        _shut_down(found, Supervisord(home.supervisor_socket, ANSWER_S), topology)
    if found.members():
        _stop_unsupervised(found, topology)
    end_all(found)
    home.supervisor_socket.unlink(missing_ok=True)
    home.internal_socket.unlink(missing_ok=True)
    for left in home.admin.glob("*.sock"):  # of an instance that was killed and not started again
        left.unlink(missing_ok=True)
    record.remove(home)


def end_all(found: Record) -> None:
    """SIGKILL the session until nothing of it is left.

    Raises:
        StateError: something is left.
    """

    def nothing_left() -> bool:
        left = found.members()  # asked again each time: a dying process may just have forked
        for one in left:
            process.send(one, SIGKILL)
        return not left

    if not wait_until(nothing_left, KILLED_S):
        pids = ", ".join(str(one.pid) for one in found.members())
        raise StateError(
            f"pid {pids} did not end within {KILLED_S} s of SIGKILL (waiting for a disk?); "
            "run `make down` again"
        )


def _shut_down(found: Record, supervisord: Supervisord, topology: Topology) -> None:
    """Let supervisord stop its programs in order; end it where it hangs."""
    graces = [topology.proxy.grace_s, *(one.grace_s for one in topology.services.values())]
    # It stops its groups one after the other.
    patience = sum(grace + STOP_MARGIN_S for grace in graces) + STOP_MARGIN_S
    if not supervisord.answers() or not supervisord.shutdown():
        process.send(found.supervisord, SIGKILL)
    deadline = now() + patience
    while now() < deadline and not process.wait_gone(found.supervisord, 0.02):
        # Each call turns supervisord's loop once; by itself it turns once a second.
        supervisord.answers()
    process.send(found.supervisord, SIGKILL)
    process.wait_gone(found.supervisord, KILLED_S)


def _stop_unsupervised(found: Record, topology: Topology) -> None:
    """What supervisord would do, without one: the right signal to each program, then patience."""
    for one in found.roots():
        process.send(one, SIGQUIT if _is_nginx(one, found) else SIGTERM)
    graces = [topology.proxy.grace_s, *(one.grace_s for one in topology.services.values())]
    wait_until(lambda: not found.members(), max(graces) + STOP_MARGIN_S)


def _is_nginx(one: Process, found: Record) -> bool:
    try:
        return Path(f"/proc/{one.pid}/exe").resolve() == Path(found.nginx).resolve()
    except OSError:
        return False
