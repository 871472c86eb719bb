"""clock_step: the machine's wall clock is set, as by an operator or a broken time service."""

import os
import time
from typing import Annotated

from pydantic import Field

from bulkhead.clock import wall, wall_offset
from bulkhead.faults import parts
from bulkhead.faults.base import Fault, FaultError, Site, Steps, Targets, register
from bulkhead.faults.proof import held, undone

# It is done to the whole machine and everybody on it, so nobody does it by mistake.
ALLOW = "BULKHEAD_ALLOW_CLOCK_STEP"
NEAR_S = 0.5


@register
class ClockStep(parts.OnPart):
    """The wall clock is set by `step_s`, and back at the end. Monotonic time goes on as it was.

    nginx's rows have the wall clock, so what it logs meanwhile is off by as much, and the judge
    says so.
    """

    name = "clock_step"
    part = "clock"

    class Params(Fault.Params):
        """How far; below 0 is back in time."""

        step_s: Annotated[float, Field(ge=-86_400, le=86_400)]

    params: Params

    def available(self, site: Site) -> str:  # noqa: ARG002 - it is about the machine
        """Only where somebody has said that this machine may be treated so."""
        if os.environ.get(ALLOW) != "1":
            return f"it sets the clock of the whole machine: say {ALLOW}=1 if that is meant"
        return "" if os.geteuid() == 0 else "it needs root"

    def hold(self, site: Site, targets: Targets) -> Steps:  # noqa: ARG002 - there is one clock
        """Set it; both proofs are its distance from monotonic time."""
        before = wall_offset()
        step_s = self.params.step_s
        try:
            _set(before, step_s)
            held(site, f"the clock is {step_s:g} s off", lambda: _is_off(before, step_s))
            yield f"the wall clock is {wall_offset() - before:+.3f} s off"
        finally:
            if _is_off(before, step_s):  # somebody else may have put it right meanwhile
                _set(before, 0)
            undone("must be right", ("clock",), lambda _: _is_off(before, 0))
        return f"the wall clock is {wall_offset() - before:+.3f} s off"


def _set(offset: float, step_s: float) -> None:
    try:
        time.clock_settime(time.CLOCK_REALTIME, wall() - wall_offset() + offset + step_s)
    except PermissionError as error:
        raise FaultError(f"the clock cannot be set: {error}") from error


def _is_off(offset: float, step_s: float) -> bool:
    return abs(wall_offset() - offset - step_s) < NEAR_S
