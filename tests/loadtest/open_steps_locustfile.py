"""The open loop with a plan of its own: the steps in BULKHEAD_TEST_STEPS, one at a time."""

import json
import os
from dataclasses import replace
from itertools import count
from typing import Any

from loadtest import openloop
from loadtest.mix import Kind
from loadtest.plan import Plan
from loadtest.stencil import Stencil

# A content that no one knows how to check: a mistake inside the load itself.
CONTENT: Any = os.environ.get("BULKHEAD_TEST_CONTENT", "")
STEPS = [
    Kind(f"step {n}", method, path, 200, CONTENT, members={} if method in ("POST", "PUT") else None)
    for n, (method, path) in enumerate(json.loads(os.environ["BULKHEAD_TEST_STEPS"]))
]
GAP_S = 0.2


class Steps(openloop.OpenLoop):
    def plan(self) -> Plan:
        plan = super().plan()
        return replace(
            plan,
            moments=(n * GAP_S for n in count()),
            kinds=iter(STEPS),
            stencils={kind.name: Stencil(kind, "127.0.0.1") for kind in STEPS},
            end_s=len(STEPS) * GAP_S - GAP_S / 2,
            connections=1,
        )
