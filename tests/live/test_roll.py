"""roll: each instance in its turn is taken out, finished, restarted, and no request fails."""

import json
import signal
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.clock import now
from bulkhead.supervisor_rpc import Supervisord
from bulkhead.testing import wait_until
from tests.live.operating import assert_unharmed, changed, pids, start
from tests.support.stack import ECHO, Stack, running_stack
from tests.support.trickle import trickle

pytestmark = pytest.mark.live


def test_a_roll_replaces_every_process_of_a_service_and_no_request_fails(stack: Stack) -> None:
    before = pids(stack)
    with trickle(stack.url) as load:
        done = json.loads(stack.bulkhead("roll", "api", "web", "--json").stdout)
    assert_unharmed(stack, load)
    after = pids(stack)
    assert changed(before, after) == {"api-1", "api-2", "web-1", "web-2"}
    assert [one["name"] for one in done["instances"]] == ["api-1", "api-2", "web-1", "web-2"]
    for one in done["instances"]:
        name = one["name"]
        assert (one["old_pid"], one["new_pid"], one["cut"]) == (before[name], after[name], 0)
        assert 0 < one["took_s"] < done["took_s"]


def test_a_roll_of_one_instance_leaves_the_others(stack: Stack) -> None:
    before = pids(stack)
    said = stack.bulkhead("roll", "api-2").stdout
    assert changed(before, pids(stack)) == {"api-2"}
    assert "1/1  api-2: drained" in said
    assert "1 instance replaced in" in said


def test_a_roll_of_nobody_is_refused(stack: Stack) -> None:
    done = stack.bulkhead("roll", "api-3", "nginx", check=False)
    assert done.returncode == 2
    assert "roll api-3 nginx: no such service or instance; there are api, web, and" in done.stderr


def test_a_roll_names_a_stopped_instance_at_once(stack: Stack) -> None:
    """It drains no instance while another of its service does not serve."""
    Supervisord(stack.home.supervisor_socket).stop("api-1")
    began = now()
    refused = stack.bulkhead("roll", "api-2", check=False)
    assert now() - began < 10, "its patience with one that is only starting is longer"
    assert "api-1 is STOPPED: somebody has stopped it by hand; start it: " in refused.stderr
    stack.bulkhead("roll", "api-1")  # this starts it, too


def test_a_roll_stops_at_the_first_that_does_not_become_ready(stack: Stack) -> None:
    """The key of the sessions is unreadable: no new process of web can start."""
    key, aside = stack.home.secret, stack.home.data / "aside"
    before = pids(stack)
    key.rename(aside)
    key.mkdir()
    try:
        with trickle(stack.url) as load:
            done = stack.bulkhead("roll", "web", check=False)
        assert_unharmed(stack, load)
        assert done.returncode == 6
        assert "web-1 keeps crashing" in done.stderr
        assert "web-1 stays drained" in done.stderr
        assert "untouched, and serving: web-2" in done.stderr
        assert pids(stack)["web-2"] == before["web-2"]
        assert (stack.home.drained / "web-1").exists()
    finally:
        key.rmdir()
        aside.rename(key)
    with trickle(stack.url) as load:
        said = stack.bulkhead("roll", "web").stdout
    assert_unharmed(stack, load)
    assert said.index("1/2  web-1") < said.index("2/2  web-2")


def test_ctrl_c_ends_a_roll_after_the_instance_under_way(stack: Stack) -> None:
    before = pids(stack)
    roll = start(stack, "roll", "api", "web")
    wait_until("api-1 is drained", (stack.home.drained / "api-1").exists, every_s=0.001)
    roll.send_signal(signal.SIGINT)
    out, said = roll.communicate(timeout=60)
    assert (roll.returncode, said) == (130, "bulkhead: ended by SIGINT\n"), out
    assert changed(before, pids(stack)) == {"api-1"}


def test_without_the_watchdog_no_instance_is_drained(stack: Stack) -> None:
    before = pids(stack)
    supervisord = Supervisord(stack.home.supervisor_socket)
    watch = supervisord.find("watch")
    assert watch
    supervisord.stop_soon("watch")
    watching = proc.find(watch.pid)
    assert watching is None or proc.wait_gone(watching, 10)
    done = stack.bulkhead("roll", "api", check=False)
    assert done.returncode == 5
    assert "api-1 was to be drained, and nginx still gives it requests" in done.stderr
    assert not (stack.home.drained / "api-1").exists()
    assert stack.get("/api/v1/whoami").status == 200
    supervisord.start("watch")
    assert changed(before, pids(stack)) == {"watch"}


def test_the_only_instance_of_a_service_is_rolled_while_its_requests_wait(tmp_path: Path) -> None:
    one = ("services.api.instances=1", "services.web.instances=1", "services.web.workers=1")
    settings = (
        *one,
        "proxy.queue_timeout_s=30",
    )  # they must wait for as long as this machine takes
    with running_stack(tmp_path / "home", settings) as stack:
        with trickle(stack.url) as load:
            said = stack.bulkhead("roll", "api", "web").stdout
        assert load.failures == []
        assert "api has one instance: its requests wait in nginx meanwhile" in said


def test_without_the_watched_balancer_a_roll_says_what_it_relies_on(tmp_path: Path) -> None:
    settings = (*ECHO, "proxy.balancer=nginx", "services.api.instances=2")
    with running_stack(tmp_path / "home", settings) as stack:
        before = pids(stack)
        assert "instances cannot be drained" in stack.bulkhead("roll", "api").stdout
        assert changed(before, pids(stack)) == {"api-1", "api-2"}
        stack.bulkhead("scale", "api=3")
        assert stack.status()["api-3"]["ready"]
