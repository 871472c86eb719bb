"""What a fault is: something done to a running stack, proved to have taken hold, always undone.

    inject   put right what an earlier one may have left, then do it
    held     proof, seen from outside, that it is in force: here the `with` block begins
    heal     the block has ended, in whatever way: undo it
    healed   proof that it is undone

One fault is one file of this package; docs/adding-a-fault.md shows how to write one.
"""

import importlib
import pkgutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from threading import Event
from types import TracebackType
from typing import ClassVar, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

import bulkhead.faults
from bulkhead.control import process
from bulkhead.control.process import Process
from bulkhead.control.record import Record, leader
from bulkhead.hosts.base import Host, Hosts
from bulkhead.render.paths import Home
from bulkhead.topology.model import Instance, Topology
from bulkhead.topology.problems import found, lines, near

STAND_IN = "-m bulkhead.watch.adopt "  # in the command line of one
CONNECT_S = 0.25
ANSWER_S = 2


class FaultError(Exception):
    """A fault could not be done, did not take hold, or could not be undone; it says which."""


class BadFault(ValueError):  # noqa: N818 - it is the fault that is bad, not the run
    """There is no fault of that name, or its parameters are wrong: one line a problem."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True)
class Site:
    """The running stack that faults are done to.

    Nothing here asks supervisord: a call would wake it up, and change how fast it restarts.
    Once `ending` is set, nobody waits any longer for a fault to take hold: it is undone instead.
    Of a stack on several `hosts`, `home`, `topology` and `record` are the proxy's.
    """

    home: Home
    topology: Topology
    record: Record
    ending: Event = field(default_factory=Event)
    hosts: Hosts | None = None

    @property
    def homes(self) -> list[Home]:
        """The homes of all hosts: where rows and logs are."""
        return [self.home, *(self.hosts.homes.values() if self.hosts else ())]

    @property
    def url(self) -> str:
        """Where clients reach the stack."""
        return self.hosts.url if self.hosts else self.topology.url

    def find(self, instance: Instance) -> Process | None:
        """The process that leads this instance, if it lives; supervisord's child or not."""
        return leader(self.home, instance.name)

    def processes(self, instance: Instance) -> list[Process]:
        """All of its processes, eldest first: workers too, and those whose master has died."""
        found = [one for one in self.record.members() if _instance_of(one) == instance.name]
        # A stand-in has the same environment; it is supervisord's, and serves nobody.
        found = [one for one in found if STAND_IN not in process.title(one)]
        return sorted(found, key=lambda one: (one.start_ticks, one.pid))

    def accepts(self, instance: Instance) -> bool:
        """Whether connecting to its address works; nothing is sent."""
        with socket.socket() as trial:
            trial.settimeout(CONNECT_S)
            try:
                trial.connect((instance.host, instance.port))
            except OSError:
                return False
            # Without a listener, a port that the kernel may give to clients can meet itself.
            return bool(trial.getsockname() != trial.getpeername())

    def answers(self, instance: Instance) -> bool:
        """Whether it answers at its own address, in its own name, and none of it is stopped."""
        if any(map(process.stopped, self.processes(instance))):
            return False
        connection = HTTPConnection(instance.host, instance.port, timeout=ANSWER_S)
        try:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            return answer.status == 200 and answer.headers["X-Instance"] == instance.name
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


def _instance_of(one: Process) -> str:
    return process.variable(one, "BULKHEAD_INSTANCE")


Targets = tuple[Instance, ...]
# Yields once, the proof that the fault took hold; returns the proof that it is undone.
Steps = Generator[str, None, str]


class Fault(ABC):
    """One kind of fault with its parameters. It keeps no state: its injections may overlap."""

    class Params(BaseModel):
        """The parameters of a fault that has none. Units are in the names."""

        model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    on: ClassVar[Literal["instances", "proxy", "hosts"]] = "instances"
    # It proves within bounded waits that it took hold and that it is undone: more than these take
    # together. The grace time, for which `term` and `refuse` wait, is extra.
    patience_s: ClassVar[float] = 100

    def __init__(self, params: Params) -> None:
        self.params = params

    def available(self, site: Site) -> str:  # noqa: ARG002 - most can be done everywhere
        """Why it cannot be done to this stack on this machine; empty when it can."""
        return ""

    def heal(self, site: Site, targets: Targets) -> None:  # noqa: B027 - most leave nothing
        """Put right what an injection may have left: at once, and whatever state it finds."""

    @abstractmethod
    def hold(self, site: Site, targets: Targets) -> Steps:
        """Do it to all targets as nearly at once as can be, prove it, yield; undo it, prove that.

        Raises:
            FaultError: it did not take hold, or it could not be undone.
        """

    def inject(self, site: Site, targets: "Targets | tuple[Host, ...]") -> "Injected":
        """A context manager: while its block runs, the fault is in force.

        Raises:
            FaultError: on entering, that it did not take hold: whatever was done is undone by
                then. On leaving, that it could not be proved to be undone.
        """
        # Which of the two it is belongs to the kind of fault; targets.py chooses by that.
        return Injected(self._steps(site, cast(Targets, targets)))

    def _steps(self, site: Site, targets: Targets) -> Steps:
        if self.on != "proxy" and not targets:
            raise FaultError(f"{self.name}: there is nothing to do it to")
        if reason := self.available(site):
            raise FaultError(f"{self.name}: {reason}")
        self.heal(site, targets)
        return (yield from self.hold(site, targets))


class Injected(AbstractContextManager[str]):
    """One injection: entering gives the proof that it took hold, `undone` then has the other."""

    def __init__(self, steps: Steps) -> None:
        self.undone = ""
        self._context = self._follow(steps)

    @contextmanager
    def _follow(self, steps: Steps) -> Generator[str, None, None]:
        self.undone = yield from steps

    def __enter__(self) -> str:
        return self._context.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._context.__exit__(kind, error, trace)


_registry: dict[str, type[Fault]] = {}
Kind = TypeVar("Kind", bound=type[Fault])


def register(kind: Kind) -> Kind:
    """Make a fault known by its name: the decorator of every fault's class."""
    _registry[kind.name] = kind
    return kind


def known() -> dict[str, type[Fault]]:
    """Every fault there is, by name."""
    for module in pkgutil.iter_modules(bulkhead.faults.__path__):
        importlib.import_module(f"bulkhead.faults.{module.name}")
    return dict(sorted(_registry.items()))


def problems(name: str, params: Mapping[str, object]) -> list[str]:
    """What is wrong with the parameters of a known fault, one line a problem."""
    kind = known()[name].Params
    if not kind.model_fields:
        return [f"{name}: {parameter}: it takes no parameters" for parameter in params]
    try:
        kind.model_validate(dict(params))
    except ValidationError as error:
        return lines(name, found(error, kind, {}))
    return []


def make(name: str, params: Mapping[str, object]) -> Fault:
    """The fault of that name with these parameters.

    Raises:
        BadFault: with one line per problem, and what would be allowed.
    """
    kinds = known()
    if name not in kinds:
        raise BadFault(f"{name}: no such fault{near(name, list(kinds))}")
    if wrong := problems(name, params):
        raise BadFault(*wrong)
    return kinds[name](kinds[name].Params.model_validate(dict(params)))
