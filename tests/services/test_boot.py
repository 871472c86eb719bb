"""Booting: one process for each processor at a time, and at a low priority while drained."""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.common import boot
from services.common.boot import NICE, BootSemaphore

PROCESSORS = len(os.sched_getaffinity(0))
# A process that acquires the semaphore, says so, and keeps it.
KEEPS = """
import os
from services.common.boot import BootSemaphore

semaphore = BootSemaphore(os.environ)
print(flush=True)
input()
"""


@contextmanager
def booting(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that boots and is not done."""
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPS],
        env={"BULKHEAD_BOOTS": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@contextmanager
def all_taken(folder: Path) -> Iterator[list[BootSemaphore]]:
    """Every processor boots a process."""
    semaphores = [BootSemaphore({"BULKHEAD_BOOTS": str(folder)}) for _ in range(PROCESSORS)]
    yield semaphores
    for semaphore in semaphores:
        semaphore.release()


def waited_s(folder: Path) -> float:
    started = time.monotonic()
    BootSemaphore({"BULKHEAD_BOOTS": str(folder)}).release()
    return time.monotonic() - started


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot, "PATIENCE_S", 0.3)


def test_as_many_boot_at_once_as_there_are_processors(tmp_path: Path) -> None:
    with all_taken(tmp_path) as semaphores:
        assert {path.name for path in tmp_path.iterdir()} == {str(n) for n in range(PROCESSORS)}
        assert waited_s(tmp_path) >= 0.3
        semaphores[-1].release()
        assert waited_s(tmp_path) < 0.3


def test_a_slot_ends_with_its_process_whatever_that_died_of(tmp_path: Path) -> None:
    with booting(tmp_path) as other, all_taken(tmp_path):
        other.kill()
        other.wait()
        assert waited_s(tmp_path) < 0.3


def test_a_process_that_hangs_while_it_boots_does_not_block_the_others_for_ever(
    tmp_path: Path,
) -> None:
    with all_taken(tmp_path):
        assert 0.3 <= waited_s(tmp_path) < 10


@pytest.mark.parametrize("environ", [{}, {"BULKHEAD_BOOTS": ""}, {"BULKHEAD_BOOTS": "/nowhere"}])
def test_without_a_folder_no_process_waits(environ: dict[str, str]) -> None:
    started = time.monotonic()
    semaphores = [BootSemaphore(environ) for _ in range(PROCESSORS + 1)]
    assert time.monotonic() - started < 0.3
    for semaphore in semaphores:
        semaphore.release()


def test_a_second_release_does_nothing(tmp_path: Path) -> None:
    semaphore = BootSemaphore({"BULKHEAD_BOOTS": str(tmp_path)})
    semaphore.release()
    semaphore.release()


def test_a_slot_is_not_inherited(tmp_path: Path) -> None:
    """A child that a process starts while it boots must not keep its slot."""
    semaphores = [BootSemaphore({"BULKHEAD_BOOTS": str(tmp_path)}) for _ in range(PROCESSORS)]
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        for semaphore in semaphores:
            semaphore.release()
        assert waited_s(tmp_path) < 0.3
        child.kill()


# A process that boots, starts a thread meanwhile, serves, and prints its nice each time.
PRINTS_NICE = """
import os, sys, threading
from services.common.boot import LowPriorityBoot

def nice():
    threads = os.listdir("/proc/self/task")
    return {os.getpriority(os.PRIO_PROCESS, int(thread)) for thread in threads}

before = nice()
low_priority = LowPriorityBoot(os.environ)
done = threading.Event()
threading.Thread(target=done.wait).start()
while len(os.listdir("/proc/self/task")) < 2:
    pass
low = nice()
low_priority.restore()
after = nice()
low_priority.restore()
done.set()
print(before, low, after)
"""
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise and drop capabilities")


def boot_process(environ: Mapping[str, str], *prefix: str) -> str:
    """The output of the process."""
    done = subprocess.run(
        [*prefix, sys.executable, "-c", PRINTS_NICE],
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
def drained(tmp_path: Path) -> dict[str, str]:
    """The environment of an instance that an operator has drained."""
    marker = tmp_path / "api-1"
    marker.touch()
    return {"BULKHEAD_DRAINED": str(marker)}


@root
def test_a_drained_instance_boots_at_a_low_priority_and_serves_as_before(
    drained: dict[str, str],
) -> None:
    before, low = mine(), min(mine() + NICE, 19)
    assert boot_process(drained) == f"{ {before} } { {low} } { {before} }"


@root
def test_a_stack_with_a_priority_of_its_own_keeps_it(drained: dict[str, str]) -> None:
    before = mine() + 3
    assert (
        boot_process(drained, "nice", "-n", "3") == f"{ {before} } { {before + NICE} } { {before} }"
    )


@root
def test_a_process_that_could_not_take_it_back_boots_as_always(drained: dict[str, str]) -> None:
    """As root in most containers."""
    before = mine()
    limited = ["prlimit", "--nice=0", "setpriv", "--bounding-set=-sys_nice"]
    assert boot_process(drained, *limited) == f"{ {before} } { {before} } { {before} }"


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
    monkeypatch.setattr(boot, "CAP_SYS_NICE", 0)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert boot.may_return_to(nice) is may


@pytest.mark.parametrize(
    "environ", [{}, {"BULKHEAD_DRAINED": ""}, {"BULKHEAD_DRAINED": "/nowhere/api-1"}]
)
def test_an_instance_that_is_not_drained_boots_as_always(environ: dict[str, str]) -> None:
    assert boot_process(environ) == f"{ {mine()} } { {mine()} } { {mine()} }"
