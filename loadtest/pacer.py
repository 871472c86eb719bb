"""Sends the requests of a schedule when they are due, however long the answers take.

Behind its schedule it catches up: no arrival is left out. One that finds no free connection waits,
first come, first served; not sent within PATIENCE_S of its moment it is given up, and its row says
so. That bounds the memory, and what is sent later than that is not the load that was asked for.
"""

import gc
import math
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event

from bulkhead.records import ClientRow, Error
from loadtest.alarm import Alarm
from loadtest.exchange import READABLE, Channel
from loadtest.journal import Journal
from loadtest.mix import CREATE
from loadtest.plan import Plan
from loadtest.reply import NOTHING, Reply
from loadtest.stencil import Request, judge
from loadtest.tally import Tally

PATIENCE_S = 1.0
TOGETHER_S = 0.0002  # waking up has a price: arrivals closer to each other may be sent together
SWEEP_S = 0.05  # how exact a time-out is, and how long a row waits in memory
FLUSH_S = 0.2  # more at a time would hold up what becomes due meanwhile

_now = time.monotonic


class Pacer:
    """Carries out one plan, once. `planned` counts the arrivals that have become due."""

    def __init__(self, plan: Plan, journal: Journal, tally: Tally) -> None:
        self.planned = 0
        self._plan = plan
        self._journal = journal
        self._tally = tally
        self._token = uuid.uuid4().hex[:16]
        self._began = 0.0
        self._due = math.inf  # when the next arrival is planned
        self._waiting: deque[Request] = deque()
        self._idle: list[Channel] = []
        self._channels: list[Channel] = []
        self._sending = False
        self._finished = Event()
        self._failure: BaseException | None = None
        self._loop: Any = gevent.get_hub().loop
        self._sweeper = self._loop.timer(SWEEP_S, SWEEP_S)
        self._alarm = Alarm()

    def run(self) -> None:
        """Send it all. However it ends, each arrival that has become due has its row then."""
        # What Locust has loaded stays; to look through it for garbage takes tens of milliseconds.
        gc.collect()
        gc.freeze()
        began = self._plan.share.began
        self._began = _now() if began is None else began
        self._plan_next()
        self._sweeper.start(self._guarded, self._sweep)
        ringing = self._watch(self._alarm.fd, READABLE, self._on_alarm)
        self._set_alarm()
        try:
            while not self._finished.wait(FLUSH_S):
                self._tally.flush()
        finally:
            self.cut()
            self._sweeper.close()
            ringing.close()
            self._alarm.close()
            self._journal.flush()
            self._tally.flush()
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """No more arrivals, and those that wait have waited; what is in flight may finish."""
        self._take_due(_now())
        self._send_waiting()
        self._plan_nothing()

    def cut(self) -> None:
        """Stop, and wait for no answer."""
        self._take_due(_now())
        self._plan_nothing()
        for channel in self._channels:
            channel.give_up("stopped")

    def _watch(self, fd: int, events: int, callback: Callable[[], None]) -> Any:
        watcher = self._loop.io(fd, events)
        watcher.start(self._guarded, callback)
        return watcher

    def _guarded(self, callback: Callable[[], None]) -> None:
        """The event loop would print an exception and go on, with a request that never ends."""
        try:
            callback()
        except BaseException as error:
            self._failure = self._failure or error
            self._finished.set()

    def _set_alarm(self) -> None:
        if self._due < math.inf:
            self._alarm.set(max(self._due, _now() + TOGETHER_S))
        else:
            self._alarm.clear()

    def _on_alarm(self) -> None:
        self._take_due(_now())
        self._send_waiting()
        self._set_alarm()

    def _plan_next(self) -> None:
        moment = next(self._plan.moments)
        self._due = self._began + moment if moment < self._plan.end_s else math.inf

    def _plan_nothing(self) -> None:
        self._due = math.inf
        while self._waiting:
            self._give_up(self._waiting.popleft())

    def _take_due(self, now: float) -> None:
        while self._due <= now:
            stencil = self._plan.stencils[next(self._plan.kinds).name]
            self.planned += 1
            number = self._plan.share.number(self.planned)
            request_id = f"{self._token}-{number}"
            self._waiting.append(
                Request(stencil, number, request_id, stencil.key(request_id), self._due)
            )
            self._plan_next()

    def _send_waiting(self) -> None:
        if self._sending:
            return  # a request ended while it was being sent: the loop below goes on
        self._sending = True
        while self._waiting:
            if self._idle:
                channel = self._idle.pop()
            elif len(self._channels) < self._plan.connections:
                channel = Channel(self._watch, self._plan.address, self._ended)
                self._channels.append(channel)
            else:
                break
            request = self._waiting.popleft()
            self._choose_entry(request)
            text = request.stencil.text(request)
            request.sent = _now()
            channel.begin(request, text)
        self._sending = False

    def _choose_entry(self, request: Request) -> None:
        """Fill in what the request is about; with no entry for it, it creates one instead."""
        stencil = request.stencil
        if stencil.kind.source:
            request.entry = self._plan.stock.take(stencil.kind.source)
            if not request.entry:
                request.stencil = stencil = self._plan.stencils[CREATE.name]
                request.key = stencil.key(request.id)
        request.target = stencil.target(request.entry)

    def _ended(self, channel: Channel, request: Request, error: Error, reply: Reply) -> None:
        now = _now()
        kind = request.stencil.kind
        wrong = "" if error else judge(request, reply)
        if kind.source == "writable":
            self._plan.stock.back(request.entry)
        elif kind.effect == "create" and not error and not wrong:
            self._plan.stock.add(request.entry)
        self._write(request, now, error, wrong, reply)
        self._idle.append(channel)
        self._take_due(now)
        if self._waiting:
            self._send_waiting()

    def _give_up(self, request: Request) -> None:
        request.target = request.stencil.target("")
        self._write(request, _now(), "unsent", "", NOTHING)

    def _write(self, request: Request, done: float, error: Error, wrong: str, reply: Reply) -> None:
        kind = request.stencil.kind
        self._journal.add(
            ClientRow(
                id=request.id,
                name=kind.row_name,
                method=kind.method,
                target=request.target,
                planned=request.planned,
                sent=request.sent,
                done=done,
                status=0 if error else reply.status,
                error=error,
                wrong=wrong,
                key=request.key,
                instance=reply.instance,
                boot=reply.boot,
                bytes=len(reply.body),
                effect=kind.effect,
                entry="" if kind.effect == "read" else request.entry,
                replayed=reply.replayed,
            )
        )
        failure = f"no answer: {error}" if error else wrong
        self._tally.add(kind, done - request.planned, len(reply.body), failure)

    def _sweep(self) -> None:
        """What nothing else would notice: that time has passed."""
        now = _now()
        for channel in self._channels:
            request = channel.request
            if request is not None and now - request.sent > self._plan.timeout_s:
                channel.give_up("timeout")
        while self._waiting and now - self._waiting[0].planned > PATIENCE_S:
            self._give_up(self._waiting.popleft())
        self._journal.flush()
        if self._due == math.inf and not self._waiting and len(self._idle) == len(self._channels):
            self._finished.set()
