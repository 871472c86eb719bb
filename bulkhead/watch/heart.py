"""When does a process hang? Pure: what was heard and seen goes in, a reason comes out.

A process beats from its event loop, so a beat says that the loop turns. Silence alone proves
nothing: a loop also turns late when other processes have the processors, or when this whole
machine was paused, and to kill an overloaded process makes an overload worse. So only the time
counts in which the process could have run, or had no wish to. Time spent waiting for a disk does
not count either: the process that would come after it would wait for the same disk.
"""

from collections.abc import Collection
from dataclasses import dataclass

from bulkhead.watch.kernel import DISK, ENDED, RUNNABLE, STOPPED, TRACED, Look

# Nobody stops a healthy server, so a stopped one needs less patience. Long enough for whoever stops
# and continues it within one breath.
STOPPED_S = 0.2
# Who has beaten since then is not looked at: that saves most of the looks.
FRESH_S = 0.1


@dataclass
class Heart:
    """What is known of one process; times are monotonic seconds."""

    heard: float  # when its last beat was heard
    waited: float  # how long it had waited for processors in its life, at that moment
    forgiven: float = 0.0  # how long the watchdog itself was late since then
    stopped: float | None = None  # since when it is seen stopped
    ran: float = -1.0  # how long it had run in its life, when it was last looked at
    looked: float = 0.0  # when that was; what is before its last beat does not matter

    def beat(self, now: float, waited: float) -> None:
        """A beat was heard."""
        self.heard, self.waited, self.forgiven, self.stopped = now, waited, 0.0, None

    def fresh(self, now: float) -> bool:
        """Whether it has beaten just now, so that there is nothing to be seen."""
        return now - self.heard < FRESH_S

    def silent_s(self, now: float, waited: float) -> float:
        """For how long its loop has not turned, though it could have."""
        return now - self.heard - self.forgiven - (waited - self.waited)

    def why_hung(self, now: float, seen: Look, hang_s: float) -> str:
        """Why it counts as hung at this moment; empty when it does not."""
        # It wants to run and has not since the last look: how long it has waited so far is in no
        # counter yet. It is judged when it has run.
        queued = seen.state == RUNNABLE and seen.ran == self.ran
        since, self.ran, self.looked = max(self.looked, self.heard), seen.ran, now
        if seen.state in ENDED:
            return ""
        if seen.state == DISK:
            self.forgiven += now - since
        if seen.state == STOPPED:
            return self._why_stopped(now, hang_s)
        self.stopped = None
        if seen.state == TRACED:  # somebody debugs it: it begins anew when they let go
            self.beat(now, seen.waited)
            return ""
        silent = self.silent_s(now, seen.waited)
        return f"no turn for {silent:.2f} s" if silent > hang_s and not queued else ""

    def _why_stopped(self, now: float, hang_s: float) -> str:
        if self.stopped is None:
            self.stopped = now
        stopped = now - self.stopped
        return f"stopped for {stopped:.2f} s" if stopped > min(STOPPED_S, hang_s) else ""


@dataclass
class Stops:
    """Processes that do not beat (masters, nginx's workers), and since when each is stopped."""

    since: dict[int, float]

    def keep(self, pids: Collection[int]) -> None:
        """Forget all but these: they have ended."""
        for pid in self.since.keys() - set(pids):
            del self.since[pid]

    def why_hung(self, now: float, pid: int, state: str, patience_s: float = STOPPED_S) -> str:
        """Why it counts as hung at this moment; empty when it does not."""
        if state != STOPPED:
            self.since.pop(pid, None)
            return ""
        stopped = now - self.since.setdefault(pid, now)
        return f"stopped for {stopped:.2f} s" if stopped > patience_s else ""
