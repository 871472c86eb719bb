"""Sends the requests of a schedule when they are due, however long the answers take.

What becomes of late arrivals: docs/load.md.
"""

import gc
import math
import time
import uuid
from collections import deque
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent.event import Event

from bulkhead.records import Error
from loadtest.answer import NO_REPLY, Reply
from loadtest.channel import READABLE, Channel, resolve, started
from loadtest.requests import (
    CREATE,
    FIRST_AMOUNT,
    KINDS,
    EntryPool,
    Kind,
    Request,
    RequestTemplate,
    judge,
)
from loadtest.rows import Journal
from loadtest.schedule import WHOLE, Shard, schedule, seeds, sequence
from loadtest.settings import OpenSettings
from loadtest.system import Alarm

PATIENCE_S = 1.0
TOGETHER_S = 0.0002  # waking up has a price: arrivals closer to each other may be sent together
SWEEP_S = 0.05  # how exact a time-out is, and how long a row waits in memory
GIVE_UP_SWEEPS = 10  # in the time after which a client leaves: that may be shorter

_now = time.monotonic


class Plan:
    """The shard of an open-loop load that the settings ask for, against the stack at `base_url`.

    `kinds` are to be sent at `moments`, seconds from the start, until `end_s`. A ValueError says
    what the URL must be.
    """

    def __init__(self, settings: OpenSettings, base_url: str, shard: Shard = WHOLE) -> None:
        host, seed = urlsplit(base_url).netloc, settings.seed
        first = seeds(settings.mix, settings.rate)
        moments = schedule(settings.arrivals, settings.rate, seed, settings.steps)
        self.address = resolve(*settings.address(base_url))
        self.story = _story(settings, base_url, shard)
        self.shard = shard
        self.moments: Iterator[float] = shard.part(moments)
        self.kinds: Iterator[Kind] = shard.part(sequence(settings.mix, seed, first))
        self.templates = {name: RequestTemplate(kind, host) for name, kind in KINDS.items()}
        # With no entry of its own a worker could not read any.
        self.entries = EntryPool(max(1, shard.portion(first)) if first else 0, seed)
        self.connections = max(1, shard.portion(settings.connections))
        self.end_s = settings.load_s
        self.timeout_s = settings.request_timeout_s
        self.give_up_s = settings.give_up_s


def _story(settings: OpenSettings, base_url: str, shard: Shard) -> str:
    """`300, from 7 s on 1800 arrivals per second (poisson, seed 1) for 20 s, against URL`."""
    steps = (f"from {moment:g} s on {rate:g}" for moment, rate in settings.steps)
    rates = ", ".join([f"{settings.rate:g}", *steps])
    until = "until stopped" if math.isinf(settings.load_s) else f"for {settings.load_s:g} s"
    return (
        f"{rates} arrivals per second ({settings.arrivals}, seed {settings.seed}) {until}, "
        f"against {base_url}" + (f", part {shard.index + 1} of {shard.of}" if shard.of > 1 else "")
    )


class Pacer:
    """Carries out one plan, once. `journal` counts the arrivals that have become due.

    `stats` are Locust's own, told directly: an event for each request would cost more than it.
    """

    def __init__(self, plan: Plan, journal: Journal, stats: Any) -> None:
        self._plan = plan
        self._journal = journal
        self._stats = stats
        self._token = uuid.uuid4().hex[:16]
        self._arrivals = 0
        self._began = 0.0
        self._due = math.inf  # when the next arrival is planned
        self._waiting: deque[Request] = deque()
        self._idle: list[Channel] = []
        self._channels: list[Channel] = []
        self._sending = False
        self._finished = Event()
        self._failure: BaseException | None = None
        self._loop: Any = gevent.get_hub().loop
        sweep_s = min(SWEEP_S, plan.give_up_s / GIVE_UP_SWEEPS)
        self._sweeper = self._loop.timer(sweep_s, sweep_s)
        self._alarm = Alarm()
        leaves = plan.give_up_s < plan.timeout_s
        self._patience_s = plan.give_up_s if leaves else plan.timeout_s
        self._impatient: Error = "gave_up" if leaves else "timeout"

    def run(self) -> None:
        """Send it all. However that ends, each arrival that has become due has its row then."""
        # Everything that Locust has loaded stays; a search of it for garbage takes tens of ms.
        gc.collect()
        gc.freeze()
        began = self._plan.shard.began
        self._began = _now() if began is None else began
        self._plan_next()
        started(self._sweeper, self._sweep, self._fail)
        ringing = self._loop.io(self._alarm.fd, READABLE)
        started(ringing, self._on_alarm, self._fail)
        self._set_alarm()
        try:
            self._finished.wait()
        finally:
            self.cut()
            self._sweeper.close()
            ringing.close()
            self._alarm.close()
            self._journal.flush()
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Plan no more arrivals and give up those that wait; requests in flight may finish."""
        self._take_due(_now())
        self._send_waiting()
        self._plan_nothing()

    def cut(self) -> None:
        """Stop without waiting for any answer."""
        self._take_due(_now())
        self._plan_nothing()
        for channel in self._channels:
            channel.give_up("stopped")

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._finished.set()

    def _on_alarm(self) -> None:
        self._take_due(_now())
        self._send_waiting()
        self._set_alarm()

    def _set_alarm(self) -> None:
        self._alarm.set(max(self._due, _now() + TOGETHER_S))

    def _plan_next(self) -> None:
        moment = next(self._plan.moments)
        self._due = self._began + moment if moment < self._plan.end_s else math.inf

    def _plan_nothing(self) -> None:
        self._due = math.inf
        while self._waiting:
            self._give_up(self._waiting.popleft())

    def _take_due(self, now: float) -> None:
        while self._due <= now:
            kind = next(self._plan.kinds)
            self._journal.begin()
            self._arrivals += 1
            number = self._plan.shard.number(self._arrivals)
            request_id = f"{self._token}-{number}"
            self._waiting.append(Request(kind, request_id, FIRST_AMOUNT + number, self._due))
            self._plan_next()

    def _send_waiting(self) -> None:
        if self._sending:
            return  # a request ended while it was being sent: the loop below goes on
        self._sending = True
        while self._waiting:
            if self._idle:
                channel = self._idle.pop()
            elif len(self._channels) < self._plan.connections:
                channel = Channel(lambda: self._plan.address, self._ended, self._fail)
                self._channels.append(channel)
            else:
                break
            request = self._waiting.popleft()
            self._choose_entry(request)
            text = self._plan.templates[request.kind.name].text(request)
            request.sent = _now()
            channel.begin(request, text)
        self._sending = False

    def _choose_entry(self, request: Request) -> None:
        """Fill in the entry that the request is about; if there is none, it creates one instead."""
        if request.kind.source:
            request.entry = self._plan.entries.take(request.kind.source)
            if not request.entry:
                request.kind = CREATE
        request.target = request.kind.target(request.entry)

    def _ended(self, channel: Channel, request: Request, error: Error, reply: Reply) -> None:
        now = _now()
        kind = request.kind
        wrong = "" if error else judge(request, reply)
        if kind.source == "writable":
            self._plan.entries.back(request.entry)
        elif kind.effect == "create" and not error and not wrong:
            self._plan.entries.add(request.entry)
        self._write(request, now, error, wrong, reply)
        self._idle.append(channel)
        self._take_due(now)
        if self._waiting:
            self._send_waiting()

    def _give_up(self, request: Request) -> None:
        request.target = request.kind.target("")
        self._write(request, _now(), "unsent", "", NO_REPLY)

    def _write(self, request: Request, done: float, error: Error, wrong: str, reply: Reply) -> None:
        self._journal.add(request.row(done, error, wrong, reply))
        named = request.kind.method, request.kind.place
        self._stats.log_request(*named, (done - request.planned) * 1000, len(reply.body))
        if error != "gave_up" and (error or wrong):
            self._stats.log_error(*named, f"no answer: {error}" if error else wrong)

    def _sweep(self) -> None:
        """Notice that time has passed: time-outs, patience, the next flush, the end."""
        now = _now()
        for channel in self._channels:
            request = channel.request
            if request is not None and now - request.sent > self._patience_s:
                channel.give_up(self._impatient)
        while self._waiting and now - self._waiting[0].planned > PATIENCE_S:
            self._give_up(self._waiting.popleft())
        self._journal.flush()
        if self._due == math.inf and not self._waiting and len(self._idle) == len(self._channels):
            self._finished.set()
