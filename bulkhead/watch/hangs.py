"""Who hangs, of all the processes of a program; and their end."""

from dataclasses import dataclass
from signal import SIGKILL

from bulkhead.clock import now
from bulkhead.control.process import Process, find, send
from bulkhead.watch.conf import GUNICORN
from bulkhead.watch.kernel import STOPPED, state
from bulkhead.watch.program import Held, Member, Program


@dataclass(frozen=True)
class Hang:
    """A process that hangs."""

    program: str
    held: Held | Process
    why: str
    stopped: bool

    @property
    def pid(self) -> int:
        """Its pid."""
        return self.held.process.pid if isinstance(self.held, Held) else self.held.pid


def instance(program: Program) -> list[Hang]:
    """Those of an instance: what beats by its beats, a gunicorn's master only by being stopped."""
    spec = program.spec
    if spec.hang_s <= 0 or program.leader is None:
        return []
    found = []
    leader = program.leader
    if spec.kind == GUNICORN and program.was_ready:
        pid = leader.process.pid
        if why := program.stops.why_hung(now(), pid, state(pid)):
            found.append(Hang(spec.name, leader, why, True))
    for member in program.members.values():
        if member.doomed or member.heart.fresh(now()):
            continue
        # One that drains has its grace time to end; supervisord keeps to that too.
        patience = spec.hang_s + (spec.grace_s if member.stopping else 0.0)
        seen = member.eye.look()
        why = member.heart.why_hung(now(), seen, patience)
        if why:
            found.append(Hang(spec.name, member, why, seen.state == STOPPED))
    return found


def nginx(program: Program, workers: list[int]) -> list[Hang]:
    """Those of nginx. It does not beat: only a process of it that is stopped is known to hang."""
    if program.leader is None:
        return []
    found = []
    pids = (program.leader.process.pid, *workers)
    program.stops.keep(pids)
    for pid in pids:
        why = program.stops.why_hung(now(), pid, state(pid))
        if why and (process := find(pid)):
            role = " (a worker)" if pid in workers else ""
            found.append(Hang(program.name, process, why + role, True))
    return found


def kill(hang: Hang) -> None:
    """End it: to nginx a process that is dead is better than one that keeps silent."""
    if isinstance(hang.held, Process):
        send(hang.held, SIGKILL)
        return
    if isinstance(hang.held, Member):
        hang.held.doomed = True
    hang.held.kill()
