"""One supervised program as the watchdog knows it: who leads it, who serves, how it fares."""

import math
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field

from bulkhead.control.process import Process
from bulkhead.watch.conf import NGINX, WATCH, Spec
from bulkhead.watch.crashes import CRASHING, failures_after, pause_s
from bulkhead.watch.heart import Heart, Stops
from bulkhead.watch.kernel import Eye

NEVER = math.inf


@dataclass
class Held:
    """A process and the pidfd that holds it: no signal sent through it can hit another."""

    process: Process
    pidfd: int

    def kill(self) -> None:
        """SIGKILL; no matter when it has ended already."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)


@dataclass
class Member(Held):
    """A process that serves and says so: a Tornado instance, or one worker of a gunicorn."""

    eye: Eye
    heart: Heart
    stopping: bool = False  # it drains
    doomed: bool = False  # it hung and was killed; its end is not seen yet


@dataclass
class Program:
    """What is known of one program; times are monotonic seconds."""

    spec: Spec
    since: float  # when `leader` or the lack of one began
    leader: Held | None = None
    members: dict[int, Member] = field(default_factory=dict)  # by pid
    was_ready: bool = False  # this leader, or a process of its, has been ready
    failures: int = 0  # deaths in a row without having been ready
    due: float = NEVER  # without a leader: when supervisord is to be asked for one
    last: Process | None = None  # who led it last, or does
    stops: Stops = field(default_factory=lambda: Stops({}))
    out: bool = False  # an operator has taken it out of rotation

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    def lead(self, leader: Held, now: float) -> None:
        """A new process leads it."""
        self.leader, self.since, self.was_ready, self.due = leader, now, False, NEVER
        self.last = leader.process

    def end(self, now: float) -> None:
        """Its leader has ended; whoever served for it is on its own."""
        self.leader, self.since = None, now
        self.stops.since.clear()
        self.fail(now, self.was_ready)

    def fail(self, now: float, was_ready: bool) -> None:
        """Count a death, or a start of which nothing was seen; say when to start it again."""
        self.failures = failures_after(self.failures, was_ready)
        self.due = now + pause_s(self.failures)

    @property
    def crashing(self) -> bool:
        """Whether it is in a crash loop."""
        return self.failures >= CRASHING

    @property
    def serving(self) -> list[Member]:
        """Its processes that take requests."""
        return [
            one
            for one in self.members.values()
            if not one.stopping and not one.doomed and one.heart.stopped is None
        ]

    @property
    def hung(self) -> bool:
        """Whether one of its processes hangs and has not ended yet, or is stopped."""
        stopped = any(one.doomed or one.heart.stopped is not None for one in self.members.values())
        return stopped or bool(self.stops.since)

    def serves(self) -> bool:
        """Whether it does its work under the leader of now, as far as can be told."""
        if self.leader is None or self.spec.kind == WATCH:
            return self.leader is not None
        return self.was_ready and (self.spec.kind == NGINX or bool(self.serving))

    def peer(self) -> str:
        """Its state in the words of nginx's table: up, down or out.

        Up also while only the workers of a dead master serve.
        """
        if self.out:
            return "out"
        if self.serving:
            return "up"
        if any(one.stopping for one in self.members.values()):
            return "out"
        return "down"

    def state(self) -> str:
        """Its state in the words of `bulkhead status`."""
        if self.hung:
            return "hung"
        if self.crashing:
            return "crashing"
        if self.leader is None:
            return "out" if self.out else "down"
        if self.out or (self.members and not self.serving):
            return "out"
        return "up" if self.serves() else "starting"


def close(held: Held) -> None:
    """Let go of a process."""
    os.close(held.pidfd)
