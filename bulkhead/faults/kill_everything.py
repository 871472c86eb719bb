"""kill_everything: every process of the stack is gone at once, and an init system starts it."""

from signal import SIGKILL

from bulkhead.control import process, record
from bulkhead.control.process import Process
from bulkhead.faults import operator, parts, signals
from bulkhead.faults.base import FaultError, Site, Steps, Targets, register
from bulkhead.faults.proof import held, undone


@register
class KillEverything(parts.OnPart):
    """SIGKILL of every member of the stack, then `bulkhead up` with the settings that it had."""

    name = "kill_everything"
    part = "everything"
    patience_s = operator.patience_s(1)

    def hold(self, site: Site, targets: Targets) -> Steps:  # noqa: ARG002 - all of it
        """Kill; undone is that every instance answers again."""
        victims = _members(site)
        if not victims:
            raise FaultError("no live process")

        def nothing_left() -> bool:
            left = _members(site)  # asked again: one may just have forked
            signals.send(left, SIGKILL)
            return not left

        try:
            signals.send(victims, SIGKILL)
            held(site, "no process of the stack is left", nothing_left)
            yield f"ended: {len(victims)} processes"
        finally:
            operator.command(site, "up")  # as an init system would
            everybody = tuple(site.topology.instances())
            undone("must answer", everybody, site.answers)
        return f"up again: {len(everybody)} instances answer"


def _members(site: Site) -> list[Process]:
    """supervisord first, or it starts again what was killed a moment before; nginx next, or it has
    the time to say what became of the instances."""
    found = record.read(site.home) or site.record

    def turn(one: Process) -> tuple[bool, bool, Process]:
        return one != found.supervisord, not process.title(one).startswith("nginx"), one

    return sorted(found.members(), key=turn)
