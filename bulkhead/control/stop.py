"""Stopping: supervisord stops what it started; what is left when its time is up is killed."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM

from bulkhead.clock import now, wait_until
from bulkhead.control import markers, process, record
from bulkhead.control.process import Process
from bulkhead.control.record import Record
from bulkhead.control.supervisord import ENDED, GONE, STOPPABLE, Program, Supervisord
from bulkhead.errors import StateError
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import NGINX, STOP_MARGIN_S, WATCH, WATCH_GRACE_S, stop_s
from bulkhead.topology.model import Topology

SUPERVISORD = "-m supervisor.supervisord "  # in its command line
ANSWER_S = 2  # a supervisord that takes longer for one call hangs
KILLED_S = 10  # how long the kernel may take to end killed processes


def stop(found: Record) -> None:
    """End every process of the stack and remove its sockets, its markers and its record.

    Whatever state it is in: with a supervisord, with a dead one or a hung one, with stand-ins, with
    workers whose master has died, with or without its watchdog.

    Raises:
        StateError: the kernel did not end a killed process; the record stays, to try again.
    """
    topology = found.resolved()
    home = Home(topology.home)
    home.stopping.touch(mode=0o600)  # from here on the watchdog brings nothing back
    found = record.read(home) or found  # it may just have brought back supervisord
    if found.leads():
        supervisord = Supervisord(home.supervisor_socket, ANSWER_S)
        _stop_programs(found, supervisord, topology)
        _shut_down(found, supervisord, topology)
    if found.members():
        _stop_unsupervised(found, topology)
    end_all(found)
    markers.clear(home)
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


def _stop_programs(found: Record, supervisord: Supervisord, topology: Topology) -> None:
    """nginx first, and then all that it passes requests to; not one after the other.

    supervisord's own shutdown takes its groups in turn, and each program is a group.
    """
    grace_s = max(one.grace_s for one in topology.services.values())
    with suppress(*GONE):  # it has died, hangs or shuts down, which the next steps see too
        _quit_strays(found)
        _end(supervisord, lambda name: name == NGINX, topology.proxy.grace_s)
        _end(supervisord, lambda name: name != WATCH, grace_s)


def _end(supervisord: Supervisord, chosen: Callable[[str], bool], grace_s: float) -> None:
    """Stop programs, all at once, and wait until none of them runs."""

    def ended() -> bool:
        left = [
            one
            for one in supervisord.programs()  # each call also turns supervisord's loop
            if chosen(one.name) and one.state not in ENDED
        ]
        for one in left:
            if one.state in STOPPABLE and not _is_unborn(one):
                supervisord.stop_soon(one)
        return not left

    # More than supervisord's own patience, at the end of which it kills.
    wait_until(ended, grace_s + 2 * STOP_MARGIN_S)


def _is_unborn(program: Program) -> bool:
    """Whether its process is still a copy of supervisord: that one ignores every signal."""
    found = process.find(program.pid)
    return bool(found and SUPERVISORD in process.title(found))


def _shut_down(found: Record, supervisord: Supervisord, topology: Topology) -> None:
    """Let supervisord stop what is left, and itself; end it where it hangs.

    As a rule that is the watchdog. One that was shutting down already has refused to stop anything
    else first, and stops its programs in turn; what its time is too short for is done without it.
    """
    if not supervisord.shutdown():
        process.send(found.supervisord, SIGKILL)
    longest_s = topology.proxy.grace_s + max(one.grace_s for one in topology.services.values())
    deadline = now() + longest_s + stop_s(WATCH_GRACE_S) + STOP_MARGIN_S
    while now() < deadline and not process.wait_gone(found.supervisord, 0.02):
        # Each call turns supervisord's loop once; by itself it turns once a second. One that was
        # about to start anew (SIGHUP) obeys only then.
        supervisord.shutdown()
    process.send(found.supervisord, SIGKILL)
    process.wait_gone(found.supervisord, KILLED_S)


def _stop_unsupervised(found: Record, topology: Topology) -> None:
    """What supervisord would do, without one: nginx first, the right signals, and patience."""
    for one in _nginx(found):
        process.send(one, SIGQUIT)
    wait_until(lambda: not _nginx(found), topology.proxy.grace_s + STOP_MARGIN_S)
    for one in found.roots():
        process.send(one, SIGTERM)
    grace_s = max(one.grace_s for one in topology.services.values())
    wait_until(lambda: not found.members(), grace_s + STOP_MARGIN_S)


def _quit_strays(found: Record) -> None:
    """Let nginx's strays go, its workers without a master; supervisord knows nothing of them."""
    leader = record.leader(Home(found.resolved().home), NGINX)
    for one in _nginx(found):
        if one != leader:
            process.send(one, SIGQUIT)


def _nginx(found: Record) -> list[Process]:
    """nginx's masters, and its workers without one."""
    processes = [one for one in found.members() if _is_nginx(one, found)]
    pids = {one.pid for one in processes}
    parents = ((one, process.stat(one.pid)) for one in processes)
    return [one for one, stat in parents if stat and stat.parent not in pids]


def _is_nginx(one: Process, found: Record) -> bool:
    if process.title(one).startswith("nginx: "):
        return True
    try:  # it has not got so far yet as to say what it is
        return Path(f"/proc/{one.pid}/exe").resolve() == Path(found.nginx).resolve()
    except OSError:
        return False
