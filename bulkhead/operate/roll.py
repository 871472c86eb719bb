"""Rolling: every instance of a service is replaced by a fresh process, one after the other.

An instance is drained, ended, replaced, awaited, and given requests again; `reload` replaces what
has changed in the same way. A file `run/drained/NAME` drains it: the watchdog sees that and tells
nginx, which says how many requests each instance still has. nginx's own balancer
(`proxy.balancer = "nginx"`) cannot be told: then every wait for it ends at once.

The instances that do not serve come first: the next roll finishes one that a broken version has
cut short.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bulkhead import http_probe, peer_table
from bulkhead.atomic import mark
from bulkhead.clock import now, pause, wait_until
from bulkhead.errors import BulkheadError, StartError, StateError, UsageError
from bulkhead.interrupts import signals_deferred
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import STOP_MARGIN_S
from bulkhead.supervise import record
from bulkhead.supervise.home import Say, lock
from bulkhead.supervise.status import require_started, tail
from bulkhead.supervisor_rpc import ASK_S, FAILING, Supervisord
from bulkhead.topology.model import Instance, ServiceSection, Topology

TOLD_S = 5  # how long the watchdog may take to see a file and tell nginx
EVERY_S = 0.01


@dataclass(frozen=True)
class Replaced:
    """How an instance was replaced, and how long each step took, in seconds."""

    name: str
    old_pid: int  # 0 when it did not run
    new_pid: int
    drained_s: float  # until nginx gave it no requests and it had none any more
    ended_s: float  # until its process was gone
    ready_s: float  # until its successor said that it was ready
    back_s: float  # until nginx gave it requests
    cut: int  # requests that its grace time was not enough for, when it was told to end
    took_s: float  # all steps together

    def describe(self, number: str) -> str:
        """All of it in a line; `number` is 2/4 or the like."""
        cut = f"; told to end with {self.cut} requests under way" if self.cut else ""
        return (
            f"  {number}  {self.name}: drained {self.drained_s:.2f} s, ended {self.ended_s:.2f} s, "
            f"ready {self.ready_s:.2f} s, back {self.back_s:.2f} s "
            f"(pid {self.old_pid} -> {self.new_pid}){cut}"
        )


class Running:
    """A running stack; it has the first of these topologies, or goes over to it from the second."""

    def __init__(self, *topologies: Topology) -> None:
        self.topologies = topologies
        self.home = Home(topologies[0].home)
        self.supervisord = Supervisord(self.home.supervisor_socket)
        self._watched = topologies[0].proxy.balancer == "watched"

    def instance(self, name: str) -> Instance:
        """The instance of this name."""
        instances = (each for topology in self.topologies for each in topology.instances())
        return next(each for each in instances if each.name == name)

    def drain(self, instance: Instance) -> int:
        """Give an instance no more requests; returns how many it still has after its grace time.

        StateError if nginx is not told within `TOLD_S`; the instance is as before.
        """
        if not self._watched:
            return 0
        name, marker = instance.name, self.home.drained / instance.name
        marked = marker.exists()
        self.home.drained.mkdir(mode=0o700, exist_ok=True)
        mark(marker)
        if not wait_until(lambda: self._state(name) == "drained", TOLD_S, EVERY_S):
            if not marked:
                self.unmark(name)
            raise StateError(
                f"{name} was to be drained, and nginx still gives it requests after "
                f"{TOLD_S} s: does the program `watch` run? See `make status` and `make logs`"
            )
        wait_until(lambda: not self._in_flight(name), self._grace_s(instance), EVERY_S)
        return self._in_flight(name)

    def put_back(self, name: str) -> None:
        """Give an instance requests again; StartError unless nginx does so within `TOLD_S`."""
        if not self._watched:
            return
        self.unmark(name)
        if not wait_until(lambda: self._state(name) == "up", TOLD_S, EVERY_S):
            raise StartError(
                f"{name} says that it is ready, and nginx gives it no requests after {TOLD_S} s: "
                f"to nginx it is `{self._state(name) or 'unknown'}`; see `make logs`"
            )

    def unmark(self, name: str) -> None:
        """Let an instance be drained no more, without waiting for nginx."""
        (self.home.drained / name).unlink(missing_ok=True)

    def serving(self, instances: Iterable[Instance]) -> list[Instance]:
        """Those of these instances that nginx gives requests now."""
        if not self._watched:
            return list(instances)
        up = {peer.name for peer in self._peers() if peer.state == "up"}
        return [instance for instance in instances if instance.name in up]

    def in_order(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those that do not serve first: with them nothing can be lost."""
        serving = self.serving(instances)
        return sorted(instances, key=lambda instance: instance in serving)

    def end(self, instance: Instance) -> None:
        """Let an instance finish and end; more patiently than supervisord, which then kills."""
        self.supervisord.end(instance.name, self._grace_s(instance) + 2 * STOP_MARGIN_S)

    def await_ready(self, instance: Instance) -> int:
        """The pid of its leader once it is ready; StartError after two crashes or `boot_s`."""
        boot_s = self._sections(instance)[0].boot_s
        deadline = now() + boot_s
        pids: set[int] = set()
        program, asked = None, 0.0
        while True:
            late = now() > deadline
            if leader := record.leader(self.home, instance.name):
                pids.add(leader.pid)
                if http_probe.leader_ready(instance.address, instance.name, leader):
                    return leader.pid
            if now() - asked >= ASK_S:  # seldom: it costs the booting process processor time
                program, asked = self.supervisord.find(instance.name), now()  # also wakes it
            wrong = f"was not ready within {boot_s:g} s" if late else ""
            if program and program.state in FAILING and len(pids) > 1:
                wrong = f"keeps crashing ({program.description})"
            if wrong:
                log = self.home.log / f"{instance.name}.log"
                raise StartError(f"{instance.name} {wrong}; it printed:", *tail(log))
            pause(EVERY_S)

    def replace_each(
        self, order: Sequence[Instance], swap: Callable[[Instance], None]
    ) -> Iterator[Replaced]:
        """Replace one after the other; `swap` starts the successor once nothing of one runs.

        A signal that would end the command waits until the instance under way is back.
        StateError if nginx or supervisord does not do as told; what still runs serves again.
        StartError if a successor does not become ready; it stays drained, the rest as it was.
        """
        for instance in order:
            with signals_deferred():
                if self.serving([instance]):
                    self._wait_for_others(instance)
                replaced = self._replace(instance, swap)
            yield replaced

    def _replace(self, instance: Instance, swap: Callable[[Instance], None]) -> Replaced:
        start = now()
        cut = self.drain(instance)
        drained = now()
        old = record.leader(self.home, instance.name)
        try:
            self.end(instance)
        except BaseException:
            self.unmark(instance.name)
            raise
        ended = now()
        swap(instance)
        pid = self.await_ready(instance)
        ready = now()
        self.put_back(instance.name)
        back = now()
        return Replaced(
            name=instance.name,
            old_pid=old.pid if old else 0,
            new_pid=pid,
            drained_s=drained - start,
            ended_s=ended - drained,
            ready_s=ready - ended,
            back_s=back - ready,
            cut=cut,
            took_s=back - start,
        )

    def _wait_for_others(self, instance: Instance) -> None:
        """Keep the last instance that serves from being drained because another has just died."""
        every = self.topologies[0].instances(instance.service)
        found = [self.supervisord.find(each.name) for each in every]
        require_started(self.home, filter(None, found))
        boot_s = self._sections(instance)[0].boot_s
        wait_until(lambda: self.serving(every) == every, boot_s, EVERY_S)
        serving = self.serving(every)
        if missing := sorted(each.name for each in every if each not in serving):
            raise StartError(
                f"{', '.join(missing)} of the same service gets no requests, so "
                f"{instance.name} is not drained"
            )

    def _grace_s(self, instance: Instance) -> float:
        """How long it may take to finish its requests, whichever version of it runs."""
        return max(section.grace_s for section in self._sections(instance))

    def _sections(self, instance: Instance) -> list[ServiceSection]:
        """Its service in each of the topologies that have it."""
        found = (topology.services.get(instance.service) for topology in self.topologies)
        return [section for section in found if section]

    def _state(self, name: str) -> str:
        return next((peer.state for peer in self._peers() if peer.name == name), "")

    def _in_flight(self, name: str) -> int:
        return next((peer.in_flight for peer in self._peers() if peer.name == name), 0)

    def _peers(self) -> list[peer_table.Peer]:
        return peer_table.read(self.home.internal_socket)


def roll(home: Home, wanted: Sequence[str], say: Say) -> list[Replaced]:
    """Replace every instance of these services, or just these instances.

    UsageError if there is no such service or instance. StateError if the stack is not up, or
    supervisord or nginx does not do as told. StartError if a new process did not become ready; the
    instances after it are untouched.
    """
    with lock(home):
        topology = record.require_whole(home).resolved()
        instances = topology.instances()
        names = [each.name for each in instances]
        if wrong := [name for name in wanted if name not in {*topology.services, *names}]:
            raise UsageError(
                f"roll {' '.join(wrong)}: no such service or instance; there are "
                f"{', '.join(topology.services)}, and {', '.join(names)}"
            )
        chosen = [each for each in instances if {each.name, each.service} & set(wanted)]
        running = Running(topology)
        for line in _warnings(topology, chosen):
            say(line)
        order = running.in_order(chosen)
        done: list[Replaced] = []
        try:
            for replaced in running.replace_each(
                order, lambda instance: running.supervisord.start(instance.name)
            ):
                done.append(replaced)
                say(replaced.describe(f"{len(done)}/{len(order)}"))
        except BulkheadError as error:
            first, *others = [instance.name for instance in order[len(done) :]]
            lines = list(error.lines)
            if (home.drained / first).exists():
                lines.append(
                    f"{first} stays drained, and supervisord goes on trying to start it; once that "
                    f"is mended, `bulkhead roll {first}` brings it back"
                )
            if others:
                lines.append(f"untouched, and serving: {', '.join(others)}")
            raise type(error)(*lines) from error
        return done


def _warnings(topology: Topology, chosen: Sequence[Instance]) -> list[str]:
    """Warnings for an operator about rolling these."""
    if topology.proxy.balancer == "nginx":
        return [
            'proxy.balancer = "nginx": instances cannot be drained; each finishes what it has by '
            "itself, and a retryable request that it refuses is retried on another"
        ]
    return [
        f"{name} has one instance: its requests wait in nginx meanwhile, for up to "
        f"proxy.queue_timeout_s = {topology.proxy.queue_timeout_s:g} s"
        for name in dict.fromkeys(instance.service for instance in chosen)
        if topology.services[name].instances == 1
    ]
