"""roll, scale and upgrade_nginx: what operators do, as a drill does it."""

import pytest

from bulkhead import proc
from bulkhead.faults.contract import FaultError, Site, make
from bulkhead.faults.processes import nginx_master
from bulkhead.supervise import record
from bulkhead.supervise.home import lock
from tests.faults.looking import ENDS, ask, ended_by, inject
from tests.support.stack import Stack

pytestmark = pytest.mark.live


def leaders(site: Site) -> dict[str, proc.Process | None]:
    return {one.name: site.find(one) for one in site.topology.instances()}


@ENDS
def test_a_roll_replaces_its_targets_and_nobody_else(
    watched_site: Site, error: type[BaseException] | None
) -> None:
    before = leaders(watched_site)
    with ended_by(error), inject(watched_site, "roll", "api-2") as proof:
        found = watched_site.find(watched_site.topology.instances("api")[1])
        assert found
        assert proof.endswith(f"now {found.pid}")
        if error:
            raise error
    after = leaders(watched_site)
    assert [name for name in before if before[name] != after[name]] == ["api-2"]
    assert ask(watched_site, "api-2", "/healthz").instance == "api-2"


@ENDS
def test_more_instances_serve_for_a_while(
    watched: Stack, watched_site: Site, error: type[BaseException] | None
) -> None:
    before = leaders(watched_site)
    targets = tuple(watched_site.topology.instances("web"))
    injected = make("scale", {"more_instances": 1}).injected(watched_site, targets)
    with ended_by(error), injected as proof:
        assert proof == "answer: web-3"
        assert watched.status()["web-3"]["ready"]
        if error:
            raise error
    assert leaders(watched_site) == before
    assert "web-3" not in watched.status()
    assert error or injected.healed == "ended: web-3; all others answer"


def test_what_a_killed_driver_has_added_is_healed(watched: Stack, watched_site: Site) -> None:
    watched.bulkhead("scale", "web=3")
    targets = tuple(watched_site.topology.instances("web"))
    make("scale", {"more_instances": 1}).heal(watched_site, targets)
    assert "web-3" not in watched.status()
    again = record.require(watched.home)
    make("scale", {"more_instances": 1}).heal(watched_site, targets)
    assert record.require(watched.home) == again


def test_an_operation_that_is_refused_says_why(watched: Stack, watched_site: Site) -> None:
    injected = inject(watched_site, "scale", "web-1", more_instances=1)
    with (
        lock(watched.home),
        pytest.raises(FaultError, match=r"`bulkhead scale web=3` ends with 5: .*another command"),
    ):
        injected.__enter__()
    assert "web-3" not in watched.status()


def test_another_nginx_takes_over(watched: Stack, watched_site: Site) -> None:
    old = nginx_master(watched_site)
    injected = make("upgrade_nginx", {}).injected(watched_site, ())
    with injected as proof:
        now = nginx_master(watched_site)
        assert now != old
        assert proof.startswith(f"pids: pid {now.pid}, ")
        assert f"no more pid {old.pid}, " in proof
    assert watched.get("/api/v1/whoami").status == 200
    assert injected.healed.startswith("nothing to undo; workers: pid ")


def test_without_a_watchdog_nginx_is_not_upgraded(echo_site: Site) -> None:
    assert make("upgrade_nginx", {}).available(echo_site) == (
        "nobody would let the old workers go: stack.watch"
    )
