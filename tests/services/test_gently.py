"""Booting at a low priority: only while nobody waits, and only if it can be taken back."""

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from services import gently
from services.gently import NICE

# A process that boots, starts a thread meanwhile, serves, and says at each time what its nice is.
BOOTS = """
import os, sys, threading
from services.gently import Gently

def nice():
    return {os.getpriority(os.PRIO_PROCESS, int(one)) for one in os.listdir("/proc/self/task")}

before = nice()
gently = Gently(os.environ)
done = threading.Event()
threading.Thread(target=done.wait).start()
while len(os.listdir("/proc/self/task")) < 2:
    pass
low = nice()
gently.end()
after = nice()
gently.end()
done.set()
print(before, low, after)
"""
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise and drop capabilities")


def boot(environ: Mapping[str, str], *prefix: str) -> str:
    """What the process says of itself."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", BOOTS],
        env={**environ, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.strip()


def mine() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


@pytest.fixture
def out(tmp_path: Path) -> dict[str, str]:
    """The environment of an instance that an operator has taken out of rotation."""
    marker = tmp_path / "api-1"
    marker.touch()
    return {"BULKHEAD_OUT": str(marker)}


@root
def test_who_is_out_of_rotation_boots_gently_and_serves_as_before(out: dict[str, str]) -> None:
    before, low = mine(), min(mine() + NICE, 19)
    assert boot(out) == f"{ {before} } { {low} } { {before} }"


@root
def test_a_stack_with_a_priority_of_its_own_keeps_it(out: dict[str, str]) -> None:
    before = mine() + 3
    assert boot(out, "nice", "-n", "3") == f"{ {before} } { {before + NICE} } { {before} }"


@root
def test_who_could_not_take_it_back_boots_as_always(out: dict[str, str]) -> None:
    """As root in most containers."""
    before = mine()
    limited = ["prlimit", "--nice=0", "setpriv", "--bounding-set=-sys_nice"]
    assert boot(out, *limited) == f"{ {before} } { {before} } { {before} }"


@pytest.mark.parametrize(
    ("limit", "nice", "may"),
    [
        (20, 0, True),
        (19, 0, False),
        (17, 3, True),
        (16, 3, False),
        (40, -20, True),
        (-1, -20, True),
    ],
)
def test_a_limit_that_reaches_so_far_is_enough(
    limit: int, nice: int, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """setrlimit(2): `20 - limit` is the lowest nice that may be set; -1 is no limit."""
    monkeypatch.setattr(gently, "CAP_SYS_NICE", 0)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert gently.may_return_to(nice) is may


@pytest.mark.parametrize("environ", [{}, {"BULKHEAD_OUT": ""}, {"BULKHEAD_OUT": "/nowhere/api-1"}])
def test_who_is_waited_for_boots_as_always(environ: dict[str, str]) -> None:
    assert boot(environ) == f"{ {mine()} } { {mine()} } { {mine()} }"
