"""nginx_reload and nginx_worker: what is done to the proxy."""

import re
from contextlib import suppress

import psutil
import pytest

from bulkhead.faults.contract import FaultError, Site, make
from bulkhead.faults.processes import nginx_master, nginx_workers
from tests.faults.conftest import UNWATCHED
from tests.faults.looking import ENDS, ended_by, have_ended, site_of
from tests.support.stack import Stack

pytestmark = pytest.mark.live


def workers(site: Site) -> list[int]:
    """The workers that do not drain, as psutil sees them."""
    found = []
    for one in psutil.Process(site.record.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            title = " ".join(one.cmdline())
            if title.startswith("nginx: worker process") and "shutting down" not in title:
                found.append(one.pid)
    return found


@ENDS
def test_a_reload_replaces_every_worker(
    echo: Stack, echo_site: Site, error: type[BaseException] | None
) -> None:
    before = workers(echo_site)
    injected = make("nginx_reload", {}).injected(echo_site, ())
    with ended_by(error), injected:
        now = workers(echo_site)
        assert len(now) == len(before) == 2
        assert not set(now) & set(before)
        if error:
            raise error
    assert error or re.match(r"nothing to undo; workers: pid \d+, \d+$", injected.healed)
    assert echo.get("/api/").status == 200


@ENDS
@pytest.mark.parametrize("index", [0, 1])
def test_one_worker_dies_and_another_is_born(
    echo: Stack, echo_site: Site, index: int, error: type[BaseException] | None
) -> None:
    echo.expected_alerts = r"worker process \d+ exited on signal 9"  # it is what we do
    before = [one.pid for one in nginx_workers(nginx_master(echo_site))]
    assert sorted(before) == sorted(workers(echo_site))
    victim, other = psutil.Process(before[index]), psutil.Process(before[1 - index])
    with ended_by(error), make("nginx_worker", {"index": index}).injected(echo_site, ()):
        assert have_ended([victim])
        assert not have_ended([other])
        if error:
            raise error
    now = workers(echo_site)
    assert len(now) == 2
    assert set(before) - set(now) == {before[index]}
    assert echo.get("/api/").status == 200


def test_a_worker_that_is_not_there_cannot_be_killed(echo_site: Site) -> None:
    before = workers(echo_site)
    with pytest.raises(FaultError, match="nginx has 2 workers, none with index 2"):
        make("nginx_worker", {"index": 2}).injected(echo_site, ()).__enter__()
    assert workers(echo_site) == before


def test_a_dead_nginx_cannot_be_faulted(down_stack: Stack) -> None:
    down_stack.settings.extend(UNWATCHED)
    down_stack.bulkhead("up")
    site = site_of(down_stack)
    down_stack.bulkhead("down")
    for name in ("nginx_worker", "nginx_reload"):
        with pytest.raises(FaultError, match="no live process: nginx"):
            make(name, {}).injected(site, ()).__enter__()
