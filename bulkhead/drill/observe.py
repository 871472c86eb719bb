"""The view of a stack during a run, from outside: events, states of instances, progress."""

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Literal, Self

from bulkhead import proc, rundir
from bulkhead.clock import now
from bulkhead.drill.client_rows import Follower
from bulkhead.errors import EvidenceError
from bulkhead.faults.contract import Site
from bulkhead.hosts.interface import Hosts
from bulkhead.http_probe import answers
from bulkhead.records import Event, EventKind, encode
from bulkhead.rundir import RunDir
from bulkhead.supervise.home import Say
from bulkhead.topology.model import Instance

PATIENCE_S = 1.0  # of several hosts
MOST_INSTANCES = 128  # asked at once

State = Literal["up", "dead", "stopped"]


class Events:
    """events.jsonl: written as things happen, from any thread; unbuffered.

    `require`, not `note`, reports one that cannot be written: a fault must be healed all the same.
    """

    def __init__(self, path: Path) -> None:
        self._failure: OSError | None = None
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()

    def note(
        self,
        kind: EventKind,
        target: str = "",
        fault: str = "",
        n: int = 0,
        detail: str = "",
        at: float | None = None,
    ) -> float:
        """Write one event that happened now, or `at` a monotonic time; returns that time."""
        with self._lock:
            t = now() if at is None else at
            line = encode(Event(t, kind, target, fault, n, detail)) + b"\n"
            try:
                if self._file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self._failure = self._failure or error
            return t

    def require(self) -> None:
        """Raise the OSError by which an event could not be written, if there is one."""
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """No more events."""
        self._file.close()


class Background:
    """Looks every `every_s` in a thread, during a context; `failure` is what ended it early."""

    every_s: ClassVar[float]

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    def look(self) -> None:
        """Look once."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *ended_by: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._over.wait(self.every_s):
                self.look()
        except Exception as error:
            self.failure = error


class Observer(Background):
    """Watches every instance, and writes an event when it is up, dead or stopped.

    It never asks supervisord: a call wakes it up, and it would notice a death sooner. A living
    process is watched through the kernel alone; only the port of a dead one is connected to, until
    a process accepts there again.
    """

    every_s = 0.01

    def __init__(self, site: Site, events: Events) -> None:
        super().__init__()
        self._site = site
        self._events = events
        self._processes: dict[str, proc.Process] = {}
        self.states: dict[str, State] = {}  # the last known one of every instance
        self.look()

    def require(self) -> None:
        """Raise EvidenceError if it has broken, so that the states are not what they seem."""
        if self.failure is not None:
            raise EvidenceError(f"the observer of the instances broke: {self.failure}")

    def look(self) -> None:
        """Look at every instance."""
        for instance in self._site.topology.instances():
            self._saw(instance.name, self._state(instance), now())

    def _saw(self, name: str, state: State, at: float) -> None:
        """Write down a state that an instance has had since `at`, if it is another than before."""
        if self.states.get(name) != state:
            self.states[name] = state
            self._events.note("state", target=name, detail=state, at=at)

    def _state(self, instance: Instance) -> State:
        known = self._processes.get(instance.name)
        found = proc.stat(known.pid) if known else None
        if known and found and found.start_ticks == known.start_ticks:
            return "stopped" if found.state == "T" else "up"
        if self.states.get(instance.name, "dead") != "dead":
            return "dead"  # also when another process serves by now: it has died in between
        # Dead, or not seen yet: up only when a process of this name accepts connections.
        leader = self._site.find(instance)
        if leader and self._site.accepts(instance):
            self._processes[instance.name] = leader
            return "up"
        return "dead"


class DistantObserver(Observer):
    """Watches the instances of several hosts by asking them: it does not see their processes.

    An instance that gives no answer in its own name within `PATIENCE_S` counts as dead: it is dead,
    frozen, cut off or slow. `keep` is called before each look. In the end `run.run_json` gets every
    instance that the proxy has ever known, by its address, which the rows of the proxy have.
    """

    every_s = 0.25

    def __init__(
        self, site: Site, hosts: Hosts, events: Events, keep: Callable[[], None], run: RunDir
    ) -> None:
        self._known: dict[str, Instance] = {}
        self._hosts = hosts
        self._keep = keep
        self._run_folder = run
        self._pool = ThreadPoolExecutor(MOST_INSTANCES)
        super().__init__(site, events)

    def look(self) -> None:
        """Ask every instance, all at once."""
        self._keep()
        found = self._hosts.instances()
        for instance in found:
            before = self._known.setdefault(instance.address, instance)
            if before.name != instance.name:
                raise EvidenceError(
                    f"{instance.address} was {before.name}'s and is {instance.name}'s now: "
                    "the proxy's tries there cannot be told apart"
                )
        # An instance that the proxy has forgotten is asked where it was last.
        everybody = {instance.name: instance for instance in (*self._known.values(), *found)}
        for name, up, at in self._pool.map(_ask, everybody.values()):
            self._saw(name, "up" if up else "dead", at)

    def __exit__(self, *ended_by: object) -> None:
        super().__exit__(*ended_by)
        names = {address: (known.name, known.service) for address, known in self._known.items()}
        rundir.add_instances(self._run_folder, names)


def _ask(instance: Instance) -> tuple[str, bool, float]:
    """Its name, whether it has answered, and since when: a silent one was dead when asked."""
    start = now()
    up = answers(instance.host, instance.port, instance.name, timeout_s=PATIENCE_S)
    return instance.name, up, now() if up else start


class Progress(Background):
    """Prints a line each second. If nobody reads the output any more it ends; the run goes on."""

    every_s = 1

    def __init__(self, rows: Follower, observer: Observer, say: Say) -> None:
        super().__init__()
        self.phase = "warmup"
        self._rows = rows
        self._observer = observer
        self._say = say
        self._start = now()

    def look(self) -> None:
        """Print a line."""
        new, failed = self._rows.read()
        states = dict(self._observer.states)
        bad = ", ".join(f"{name} {state}" for name, state in states.items() if state != "up")
        up = sum(state == "up" for state in states.values())
        self._say(
            f"  {now() - self._start:3.0f} s  {self.phase:8}  {new:6,} requests/s"
            f"  {self._rows.failed:6,} failed" + (f" (+{failed:,})" if failed else "")
            + f"  {up}/{len(states)} up" + (f": {bad}" if bad else "")
        )  # fmt: skip
