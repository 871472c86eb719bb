"""kill_supervisord, kill_watch and kill_nginx: what survives is taken over, nothing restarts."""

import json
from pathlib import Path

import psutil
import pytest

from bulkhead.faults import processes
from bulkhead.faults.contract import Site, make
from bulkhead.supervise import record
from tests.faults.looking import ENDS, ended_by, have_ended, site_of
from tests.support.stack import Stack, running_stack

pytestmark = pytest.mark.live


def serving(site: Site) -> dict[str, list[psutil.Process]]:
    """The processes of every instance, leaders and their workers."""
    return {
        name: [psutil.Process(one.pid), *psutil.Process(one.pid).children()]
        for name, one in processes.leaders(site, site.topology.instances()).items()
    }


@ENDS
def test_another_supervisord_takes_over_what_runs(
    watched: Stack, watched_site: Site, error: type[BaseException] | None
) -> None:
    victim = psutil.Process(processes.supervisord(watched_site).pid)
    before = serving(watched_site)
    assert len(before) == 6
    injected = make("kill_supervisord", {}).injected(watched_site, ())
    with ended_by(error), injected:
        assert have_ended([victim])
        if error:
            raise error
    assert processes.supervisord(watched_site).pid != victim.pid
    assert serving(watched_site) == before
    assert error or "6 of 6 instances have the process that they had" in injected.healed
    assert watched.get("/api/v1/whoami").status == 200


@ENDS
def test_another_watchdog_hears(
    watched: Stack, watched_site: Site, error: type[BaseException] | None
) -> None:
    victim = record.leader(watched.home, "watch")
    assert victim
    before = serving(watched_site)
    with ended_by(error), make("kill_watch", {}).injected(watched_site, ()):
        assert not psutil.pid_exists(victim.pid) or have_ended([psutil.Process(victim.pid)])
        if error:
            raise error
    found = record.leader(watched.home, "watch")
    assert found not in (None, victim)
    assert serving(watched_site) == before
    rows = [json.loads(line) for line in watched.home.watch_rows.read_text().splitlines()]
    assert rows[-1]["kind"] != "hang"


@ENDS
def test_another_master_leads_and_the_orphans_go(
    watched: Stack, watched_site: Site, error: type[BaseException] | None
) -> None:
    victim = processes.nginx_master(watched_site)
    old = psutil.Process(victim.pid).children()
    assert len(old) == 2
    injected = make("kill_nginx", {}).injected(watched_site, ())
    with ended_by(error), injected:
        assert watched.get("/api/v1/whoami").status == 200
        if error:
            raise error
    assert have_ended(old)
    now = processes.nginx_workers(processes.nginx_master(watched_site))
    assert len(now) == 2
    assert error or ("; 0 of " in injected.healed and "were refused" in injected.healed)
    assert watched.get("/api/v1/whoami").status == 200


def test_everything_dies_with_its_watchdog_and_is_up_again(tmp_path: Path) -> None:
    """The watchdog is there to bring things back: it must not do so while all of it is killed."""
    with running_stack(tmp_path / "home") as stack:
        site = site_of(stack)
        before = [psutil.Process(one.pid) for one in site.record.members()]
        with make("kill_everything", {}).injected(site, ()):
            assert have_ended(before)
        assert not {one.pid for one in before} & {
            one.pid for one in record.require(stack.home).members()
        }
        assert all(one["ready"] for one in stack.status().values())
        assert stack.get("/api/v1/whoami").status == 200


def test_without_a_watchdog_it_says_so(real_site: Site) -> None:
    assert make("kill_supervisord", {}).available(real_site) == (
        "nobody would start another: stack.watch"
    )
    assert make("kill_watch", {}).available(real_site) == "there is no watchdog: stack.watch"
