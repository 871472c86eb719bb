"""What a test of an operation looks at: who runs, and whether any request was harmed."""

import os
import subprocess
import sys
from typing import Any

from bulkhead.records import ProxyRow
from bulkhead.testing import wait_until
from tests.support.rows import rows_so_far
from tests.support.stack import ROOT, Stack
from tests.support.trickle import Trickle

VERBS = (["roll", "api"], ["scale", "api=3"], ["reload"], ["upgrade", "nginx"], ["reopen"])


def assert_unharmed(stack: Stack, load: Trickle) -> None:
    """No request failed, none had to move on, and nobody's idle connection was closed unannounced.

    The second and third are what makes the first more than luck: a small load seldom meets the
    moment in which it would fail.
    """
    assert load.failures == []
    wanted = {load.id(one.number) for one in load.sent}
    tries = wait_until("a row for every request", lambda: _tries(stack, wanted))
    assert {id_: addrs for id_, addrs in tries.items() if ", " in addrs} == {}
    assert load.found_closed == 0


def _tries(stack: Stack, wanted: set[str]) -> dict[str, str] | None:
    """Who was tried for each; None while one has no row: nginx writes it after the answer."""
    tries = {row.id: row.addrs for row in rows_so_far(stack.home.proxy_rows, ProxyRow)}
    return {id_: tries[id_] for id_ in wanted} if wanted <= set(tries) else None


def pids(stack: Stack) -> dict[str, int]:
    return {name: one["pid"] for name, one in stack.status().items()}


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before | after if before.get(name) != after.get(name)}


def start(stack: Stack, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bulkhead.cli", *words],
        cwd=ROOT,
        env={**os.environ, "BULKHEAD_SET": " ".join(stack.settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
