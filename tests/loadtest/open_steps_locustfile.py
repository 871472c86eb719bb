"""The open loop with a plan of its own: the steps in BULKHEAD_TEST_STEPS, one at a time.

After a step in which the server does something to the idle connection there is time for it.
"""

import json
import os
from itertools import accumulate
from typing import Any

from loadtest import openloop
from loadtest.openloop import OpenLoop
from loadtest.pacer import Plan
from loadtest.requests import Kind, RequestTemplate
from loadtest.schedule import WHOLE, Shard
from loadtest.settings import OpenSettings

__all__ = ["OpenLoop"]

# A content that no one knows how to check: a mistake inside the load itself.
CONTENT: Any = os.environ.get("BULKHEAD_TEST_CONTENT", "")
STEPS = [
    Kind(f"step {n}", method, path, 200, CONTENT, members={} if method in ("POST", "PUT") else None)
    for n, (method, path) in enumerate(json.loads(os.environ["BULKHEAD_TEST_STEPS"]))
]
PAUSES_S = [0.4 if step.place.startswith("/idle") else 0.05 for step in STEPS]
MOMENTS = list(accumulate(PAUSES_S, initial=0.0))


class Steps(Plan):
    def __init__(self, settings: OpenSettings, base_url: str, shard: Shard = WHOLE) -> None:
        super().__init__(settings, base_url, shard)
        self.moments = iter(MOMENTS)
        self.kinds = iter(STEPS)
        self.templates = {kind.name: RequestTemplate(kind, "127.0.0.1") for kind in STEPS}
        self.end_s = MOMENTS[-1]
        self.connections = 1


setattr(openloop, "Plan", Steps)  # noqa: B010 - it is not ours to assign
