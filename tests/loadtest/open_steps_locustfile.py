"""The open loop with a plan of its own: the steps in BULKHEAD_TEST_STEPS, one at a time.

After a step in which the server does something to the idle connection there is time for it.
"""

import json
import os
from dataclasses import replace
from itertools import accumulate
from typing import Any

from loadtest import openloop
from loadtest.mix import Kind
from loadtest.plan import Plan
from loadtest.share import WHOLE, Share
from loadtest.stencil import Stencil

# A content that no one knows how to check: a mistake inside the load itself.
CONTENT: Any = os.environ.get("BULKHEAD_TEST_CONTENT", "")
STEPS = [
    Kind(f"step {n}", method, path, 200, CONTENT, members={} if method in ("POST", "PUT") else None)
    for n, (method, path) in enumerate(json.loads(os.environ["BULKHEAD_TEST_STEPS"]))
]
PAUSES_S = [0.4 if step.place.startswith("/idle") else 0.05 for step in STEPS]
MOMENTS = list(accumulate(PAUSES_S, initial=0.0))


class Steps(openloop.OpenLoop):
    def plan(self, share: Share = WHOLE) -> Plan:
        plan = super().plan(share)
        return replace(
            plan,
            moments=iter(MOMENTS),
            kinds=iter(STEPS),
            stencils={kind.name: Stencil(kind, "127.0.0.1") for kind in STEPS},
            end_s=MOMENTS[-1],
            connections=1,
        )
