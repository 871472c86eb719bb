"""kill_worker, kill_master, hang_worker and busy_worker: one process of a gunicorn instance."""

import time
from functools import partial

import psutil
import pytest

from bulkhead.faults.contract import FaultError, Site
from bulkhead.testing import wait_until
from tests.faults.looking import ENDS, ask, ended_by, have_ended, inject, processes

pytestmark = pytest.mark.live

PAGE = "/about"


def master_and_workers(site: Site, name: str) -> tuple[psutil.Process, list[psutil.Process]]:
    master, *workers = processes(site, name)
    assert len(workers) == 2
    return master, sorted(workers, key=lambda one: (one.create_time(), one.pid))


def makers(site: Site, name: str, count: int = 30) -> set[int]:
    """The pids of who answers. Two workers share a port: many requests meet both."""
    boots = (ask(site, name, PAGE).headers["X-Boot"] for _ in range(count))
    return {int(boot.partition(".")[0]) for boot in boots}


def serve_all(site: Site, name: str, workers: list[psutil.Process]) -> None:
    """Every one of these makes answers, and nobody else does."""
    pids = {one.pid for one in workers}
    wait_until("each of them answers", lambda: makers(site, name) == pids)


@ENDS
@pytest.mark.parametrize("index", [0, 1])
def test_one_worker_dies_and_its_master_starts_another(
    real_site: Site, index: int, error: type[BaseException] | None
) -> None:
    master, before = master_and_workers(real_site, "web-1")
    with ended_by(error), inject(real_site, "kill_worker", "web-1", index=index):
        assert have_ended([before[index]])
        assert not have_ended([master, before[1 - index]])
        if error:
            raise error
    now_master, now = master_and_workers(real_site, "web-1")
    assert now_master == master
    assert before[1 - index] in now
    assert before[index] not in now
    serve_all(real_site, "web-1", now)


@ENDS
def test_the_orphans_of_a_dead_master_go_and_another_has_its_own(
    real_site: Site, error: type[BaseException] | None
) -> None:
    master, before = master_and_workers(real_site, "web-2")
    injected = inject(real_site, "kill_master", "web-2")
    with ended_by(error), injected:
        assert have_ended([master])
        if error:
            raise error
    assert have_ended(before)
    now_master, now = master_and_workers(real_site, "web-2")
    assert now_master != master
    assert error or all(str(one.pid) in injected.healed for one in (*before, *now))
    serve_all(real_site, "web-2", now)


@ENDS
def test_one_worker_hangs_and_the_other_serves(
    real_site: Site, error: type[BaseException] | None
) -> None:
    _, before = master_and_workers(real_site, "web-1")
    with ended_by(error), inject(real_site, "hang_worker", "web-1", index=1) as proof:
        assert proof == f"stopped: pid {before[1].pid}"
        states = [one.status() == psutil.STATUS_STOPPED for one in before]
        assert states == [False, True]
        if error:
            raise error
    assert master_and_workers(real_site, "web-1")[1] == before
    assert [one.status() == psutil.STATUS_STOPPED for one in before] == [False, False]
    serve_all(real_site, "web-1", before)


def test_a_hung_worker_that_something_else_kills_counts_as_healed(real_site: Site) -> None:
    """As a watchdog does."""
    _, before = master_and_workers(real_site, "web-1")
    injected = inject(real_site, "hang_worker", "web-1")
    with injected:
        before[0].kill()
        wait_until("it has ended", partial(have_ended, [before[0]]))
    assert before[0].pid not in makers(real_site, "web-1")
    assert str(before[1].pid) in injected.healed


def test_one_worker_is_busy_and_the_other_is_not(real_site: Site) -> None:
    _, before = master_and_workers(real_site, "web-1")
    used = [sum(one.cpu_times()[:2]) for one in before]
    began = time.monotonic()
    with inject(real_site, "busy_worker", "web-1", index=1, busy_s=3.0) as proof:
        assert str(before[1].pid) in proof
        assert str(before[0].pid) not in proof
    spent = [sum(one.cpu_times()[:2]) - was for one, was in zip(before, used, strict=True)]
    assert spent[1] > 0.5 > spent[0]
    assert time.monotonic() - began >= 3.0
    serve_all(real_site, "web-1", before)


@pytest.mark.parametrize("fault", ["kill_worker", "hang_worker", "busy_worker"])
def test_a_worker_that_is_not_there_cannot_be_hit(real_site: Site, fault: str) -> None:
    params = {"busy_s": 1.0} if fault == "busy_worker" else {}
    _, before = master_and_workers(real_site, "web-1")
    with pytest.raises(FaultError, match="web-1 has 2 workers, none with index 2"):
        inject(real_site, fault, "web-1", index=2, **params).__enter__()
    for name in (fault, "kill_master"):
        given = {} if name == "kill_master" else params
        with pytest.raises(FaultError, match="api-1 has no workers"):
            inject(real_site, name, "api-1", **given).__enter__()
    assert master_and_workers(real_site, "web-1")[1] == before
