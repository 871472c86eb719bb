"""Rolling: every instance of a service is replaced by a fresh process, one after the other.

Fresh code is read from disk, the configuration stays. The instances that are out of rotation or do
not serve come first, so that a roll that was cut short by a broken version is finished by the next.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from bulkhead.clock import wait_until
from bulkhead.control import record
from bulkhead.control.interrupts import held
from bulkhead.control.lock import lock
from bulkhead.control.rotation import EVERY_S
from bulkhead.control.start import Say
from bulkhead.control.turn import Site, Turn, take
from bulkhead.errors import BulkheadError, StartError, UsageError
from bulkhead.render.paths import Home
from bulkhead.topology.model import Instance, Topology


def roll(home: Home, wanted: Sequence[str], say: Say) -> list[Turn]:
    """Replace every instance of these services, or just these instances.

    A signal that would end the command waits until the instance under way is back.

    Raises:
        UsageError: there is no such service or instance.
        StateError: the stack is not up, or supervisord or nginx does not do as told.
        StartError: a new process did not become ready; the instances after it are untouched.
    """
    with lock(home):
        running = record.require_whole(home)
        topology = running.resolved()
        chosen = choose(topology, wanted)
        site = Site.of(topology)
        for line in warnings(topology, chosen):
            say(line)
        order = in_order(site, chosen)
        taken: list[Turn] = []
        try:
            for turn in turns(site, order, lambda one: site.programs.begin(one.name)):
                taken.append(turn)
                say(describe(turn, f"{len(taken)}/{len(order)}"))
        except BulkheadError as error:
            raise type(error)(
                *error.lines, *_aftermath(site, [one.name for one in order[len(taken) :]])
            ) from error
        return taken


def choose(topology: Topology, wanted: Sequence[str]) -> list[Instance]:
    """The instances that were named, or whose service was, in the topology's order.

    Raises:
        UsageError: a name is neither.
    """
    instances = topology.instances()
    known = {*topology.services, *(one.name for one in instances)}
    if wrong := [name for name in wanted if name not in known]:
        raise UsageError(
            f"roll {' '.join(wrong)}: no such service or instance; there are "
            f"{', '.join(topology.services)}, and {', '.join(one.name for one in instances)}"
        )
    return [one for one in instances if {one.name, one.service} & set(wanted)]


def warnings(topology: Topology, chosen: Sequence[Instance]) -> list[str]:
    """What an operator must know about rolling these."""
    if topology.proxy.balancer == "nginx":
        return [
            'proxy.balancer = "nginx": nothing takes an instance out of rotation; each drains by '
            "itself, and a repeatable request that it refuses moves on"
        ]
    return [
        f"{name} has one instance: its requests wait in nginx meanwhile, for up to "
        f"proxy.hold_s = {topology.proxy.hold_s:g} s"
        for name in dict.fromkeys(one.service for one in chosen)
        if topology.services[name].instances == 1
    ]


def in_order(site: Site, instances: Sequence[Instance]) -> list[Instance]:
    """Those that serve nobody first: with them nothing can be lost."""
    serving = site.rotation.serving(one.name for one in instances)
    return sorted(instances, key=lambda one: one.name in serving)


def turns(
    site: Site, order: Sequence[Instance], swap: Callable[[Instance], None]
) -> Iterator[Turn]:
    """Give each instance its turn. A signal that would end the command waits for the turn's end.

    Raises:
        StateError, StartError: as `take`; those after it have not been touched.
    """
    for one in order:
        with held():
            if site.rotation.serving([one.name]):
                _wait_for_others(site, one)
            turn = take(site, one, partial(swap, one))
        yield turn


def describe(turn: Turn, which: str) -> str:
    """A turn in a line."""
    cut = f"; told to end with {turn.cut} requests under way" if turn.cut else ""
    return (
        f"  {which}  {turn.name}: drained {turn.drained_s:.2f} s, ended {turn.ended_s:.2f} s, "
        f"ready {turn.ready_s:.2f} s, back {turn.back_s:.2f} s "
        f"(pid {turn.old_pid} -> {turn.new_pid}){cut}"
    )


def _wait_for_others(site: Site, one: Instance) -> None:
    """Not to take out the last one that serves because another has just died."""

    names = [other.name for other in site.topologies[0].instances(one.service)]

    def missing() -> set[str]:
        return set(names) - set(site.rotation.serving(names))

    wait_until(lambda: not missing(), site.boot_s(one), EVERY_S)
    if found := missing():
        raise StartError(
            f"{', '.join(sorted(found))} of the same service is not in rotation, so {one.name} "
            "stays in"
        )


def _aftermath(site: Site, left: Sequence[str]) -> list[str]:
    """What becomes of the one whose turn failed, and of those after it."""
    first, *others = left
    lines = []
    if site.rotation.is_marked(first):
        lines.append(
            f"{first} stays out of rotation, and supervisord goes on trying to start it; once that "
            f"is mended, `bulkhead roll {first}` brings it back"
        )
    if others:
        lines.append(f"untouched, and serving: {', '.join(others)}")
    return lines
