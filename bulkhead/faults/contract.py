"""A fault: it is done to a running stack, confirmed from outside, and always healed again.

Each family of faults is a file of this package; docs/faults.md says how each is proved, and
docs/adding-a-fault.md how to write one.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from inspect import Parameter, signature
from random import Random
from threading import Event
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

import bulkhead.faults
from bulkhead import http_probe, proc
from bulkhead.clock import wait_until
from bulkhead.errors import BulkheadError
from bulkhead.hosts.interface import DATABASE, Host, Hosts
from bulkhead.proc import Process
from bulkhead.render.paths import Home
from bulkhead.supervise.record import Record, leader
from bulkhead.topology.model import Instance, Topology
from bulkhead.topology.problems import found, lines, near

SHIM = "-m bulkhead.adopt "  # part of a shim's command line
CONFIRM_S = 5
# An idle supervisord starts a dead program again within 1 to 2 s, one that has died several times
# in a row after some seconds more; a busy machine takes its time to boot it.
HEAL_S = 20
# A look may read all of /proc; a wait of seconds need not be exact to the millisecond.
EVERY_S = 0.05
HOSTS = re.compile(rf"(any|all) app|app-[1-9]|{DATABASE}")
STRICT = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class FaultError(Exception):
    """A fault could not be done, was not confirmed, or could not be healed; it says which."""


class BadFault(BulkheadError, ValueError):  # noqa: N818 - it is the fault that is bad
    """There is no fault of that name, or its parameters are wrong: one line a problem."""


Target = Instance | Host
Targets = Sequence[Instance]
# Yields once, the proof that the fault is in force; returns the proof that it is undone.
Steps = Generator[str, None, str]
Inject = TypeVar("Inject", bound=Callable[..., Steps])
Value = TypeVar("Value")


@dataclass(frozen=True)
class Site:
    """The running stack that faults are done to.

    Of a stack on several `hosts`, `home`, `topology` and `record` are the proxy's.
    Nothing here asks supervisord: a call would wake it up, and change how fast it restarts.
    Once `ending` is set, nobody waits any longer for a fault to be confirmed: it is healed instead.
    """

    home: Home
    topology: Topology
    record: Record
    hosts: Hosts | None = None
    ending: Event = field(default_factory=Event)

    @property
    def homes(self) -> list[Home]:
        """Every home folder with rows and logs."""
        return [self.home, *(self.hosts.homes.values() if self.hosts else ())]

    @property
    def url(self) -> str:
        """Where clients reach the stack."""
        return self.hosts.url if self.hosts else self.topology.url

    def choose(self, words: str, rng: Random, busy: frozenset[str]) -> Sequence[Target]:
        """The meaning of a drill's words now: the instances that live, or the hosts.

        `any` takes one that is not in `busy`, under another fault already; an instance must accept
        connections, too. Other words, such as `nginx`, mean nothing.
        """
        named: Sequence[Target]
        if self.hosts:
            names = self.hosts.homes if words in ("any app", "all app") else [words]
            named = [self.hosts.host(name) for name in names]
        else:
            named = [one for one in instances(words, self.topology) if self.find(one)]
        free = [one for one in named if one.name not in busy]
        if words.startswith("any "):
            free = [one for one in free if isinstance(one, Host) or self.accepts(one)]
            return [rng.choice(free)] if free else []
        # The fault that a busy host is under would be undone with this one.
        return named if not self.hosts or free == named else []

    def find(self, instance: Instance) -> Process | None:
        """The live process that leads this instance; supervisord's child or not."""
        return leader(self.home, instance.name)

    def processes(self, instance: Instance) -> list[Process]:
        """All of its processes, eldest first: workers too, and those whose master has died."""
        members = [
            member
            for member in self.record.members()
            if proc.variable(member, "BULKHEAD_INSTANCE") == instance.name
            # A shim has the same environment; it is supervisord's child, and serves nobody.
            and SHIM not in proc.title(member)
        ]
        return sorted(members, key=lambda member: (member.start_ticks, member.pid))

    def accepts(self, instance: Instance) -> bool:
        """Whether connecting to its address works; nothing is sent."""
        return http_probe.accepts(instance.host, instance.port)

    def serves(self, instance: Instance) -> bool:
        """Whether it has a process and accepts connections."""
        return self.find(instance) is not None and self.accepts(instance)

    def answers(self, instance: Instance) -> bool:
        """Whether it answers at its own address, in its own name, and none of it is stopped."""
        if any(map(proc.stopped, self.processes(instance))):
            return False
        return http_probe.answers(instance.host, instance.port, instance.name)


def instances(words: str, topology: Topology) -> list[Instance]:
    """The instances that a drill's words are about: `api-2`, `any api`, `all api`."""
    how, _, service = words.rpartition(" ")
    if how in ("any", "all"):
        return topology.instances(service)
    return [instance for instance in topology.instances() if instance.name == words]


@dataclass(frozen=True)
class Fault:
    """One fault; `make` gives it its parameters. It keeps no state: its injections may overlap.

    Each of its functions gets those of `site`, `hosts` (the site's), `targets` and the parameters
    that it names. The other names of `inject` are the parameters: their units are in the names.
    """

    name: str
    # Does it to all targets as nearly at once as can be, proves it, yields; undoes it, proves that.
    # It raises FaultError: it was not confirmed, or it could not be healed.
    inject: Callable[..., Steps]
    # "instances", "hosts", or the part of the stack that it is done to, which is no target.
    on: str = "instances"
    # Undoes an injection, or the leftovers of one, at once and from any state.
    undo: Callable[..., object] = lambda: None
    # Why it cannot be done to this stack on this machine; "" when it can.
    missing: Callable[..., str] = lambda: ""
    # Longer than all of its bounded waits together. The grace time, for which `term` and `refuse`
    # wait, is extra.
    patience_s: float = 100
    params: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def model(self) -> type[BaseModel]:
        """The shape of its parameters."""
        fields: dict[str, Any] = {
            name: (one.annotation, ... if one.default is Parameter.empty else one.default)
            for name, one in signature(self.inject).parameters.items()
            if name not in ("site", "hosts", "targets")
        }
        return create_model(self.name, __config__=STRICT, **fields)

    @property
    def has_targets(self) -> bool:
        """Whether it is done to instances or to hosts."""
        return self.on in ("instances", "hosts")

    def target_problem(self, words: str, topology: Topology) -> str:
        """Why a drill's words are no target of this fault; "" when they are one."""
        if self.on == "hosts":
            known = f"app-1, app-2, any app, all app, {DATABASE}"
            return "" if HOSTS.fullmatch(words) else f"{self.name} is done to a host: {known}"
        if not self.has_targets:
            return "" if words == self.on else f"{self.name} is done to {self.on}"
        if instances(words, topology):
            return ""
        names = ", ".join(instance.name for instance in topology.instances())
        services = list(topology.services)
        return (
            f"{self.name} is done to an instance ({names}), "
            f"or to any or all of a service (any {services[0]}; known: {', '.join(services)})"
        )

    def available(self, site: Site) -> str:
        """Why it cannot be done to this stack on this machine; "" when it can."""
        return self._call(self.missing, site)

    def heal(self, site: Site, targets: Sequence[Target]) -> None:
        """Undo an injection, or the leftovers of one, at once and from any state."""
        self._call(self.undo, site, targets)

    def injected(self, site: Site, targets: Sequence[Target]) -> "Injected":
        """A context manager: while its block runs, the fault is in force.

        Entering raises FaultError if it was not confirmed, and it is undone by then; leaving, if it
        could not be proved to be healed.
        """
        return Injected(self._steps(site, targets))

    def _steps(self, site: Site, targets: Sequence[Target]) -> Steps:
        if self.has_targets and not targets:
            raise FaultError(f"{self.name}: there is nothing to do it to")
        if reason := self.available(site):
            raise FaultError(f"{self.name}: {reason}")
        self.heal(site, targets)
        return (yield from self._call(self.inject, site, targets))

    def _call(
        self, function: Callable[..., Value], site: Site, targets: Sequence[Target] = ()
    ) -> Value:
        given = {"site": site, "hosts": site.hosts, "targets": targets, **self.params}
        named = signature(function).parameters.keys() & given
        return function(**{name: given[name] for name in named})


class Injected(AbstractContextManager[str]):
    """One injection: entering gives the proof that it is in force, `healed` then has the other."""

    def __init__(self, steps: Steps) -> None:
        self.healed = ""
        self._context = self._follow(steps)

    @contextmanager
    def _follow(self, steps: Steps) -> Generator[str, None, None]:
        self.healed = yield from steps

    def __enter__(self) -> str:
        return self._context.__enter__()

    def __exit__(self, *ended_by: Any) -> bool | None:
        return self._context.__exit__(*ended_by)


# Proofs. Every wait is bounded; FaultError says what was not seen.


def confirmed(
    site: Site, awaited: str, in_force: Callable[[], bool], timeout_s: float = CONFIRM_S
) -> str:
    """Wait until a fault is seen to be in force: `awaited`. The end of the run cuts that short."""

    def look() -> bool:
        if in_force():
            return True
        if site.ending.is_set():
            raise FaultError(f"was not confirmed before the run ended: {awaited}")
        return False

    if not wait_until(look, timeout_s):
        raise FaultError(f"was not confirmed within {timeout_s:g} s: {awaited}")
    return awaited


def healed(
    must: str, items: Sequence[Value], well: Callable[[Value], bool], timeout_s: float = HEAL_S
) -> None:
    """Wait until `well` has been true of every item. Only an interrupt cuts the wait short.

    `must` completes a sentence about the items: "must answer".
    """
    left = list(items)

    def look() -> bool:
        left[:] = [item for item in left if not well(item)]
        return not left

    if not wait_until(look, timeout_s, EVERY_S):
        names = ", ".join(str(getattr(item, "name", item)) for item in left)
        raise FaultError(f"not healed within {timeout_s:g} s: {names} {must}")


# The registry

_registry: dict[str, Fault] = {}


def fault(**settings: Any) -> Callable[[Inject], Inject]:
    """Make a fault of a function, by its name; the settings are fields of Fault."""

    def register(inject: Inject) -> Inject:
        _registry[inject.__name__] = Fault(inject.__name__, inject, **settings)
        return inject

    return register


def unwatched(reason: str) -> Callable[[Site], str]:
    """A fault's `missing` where nobody watches the stack."""
    return lambda site: "" if site.topology.file.stack.watch else f"{reason}: stack.watch"


def known() -> dict[str, Fault]:
    """Every fault there is, by name."""
    for module in pkgutil.iter_modules(bulkhead.faults.__path__):
        importlib.import_module(f"bulkhead.faults.{module.name}")
    return dict(sorted(_registry.items()))


def make(name: str, params: Mapping[str, object]) -> Fault:
    """The fault of that name with these parameters; BadFault has a line per problem."""
    kinds = known()
    if name not in kinds:
        raise BadFault(f"{name}: no such fault{near(name, list(kinds))}")
    model = kinds[name].model
    if params and not model.model_fields:
        raise BadFault(*(f"{name}: {parameter}: it takes no parameters" for parameter in params))
    try:
        values = model.model_validate(dict(params))
    except ValidationError as error:
        raise BadFault(*lines(name, found(error, model))) from None
    return replace(kinds[name], params=dict(values))
