"""roll, scale, reload, upgrade, reopen: a stack changes under load, and no request fails.

The load sends each request once, of every kind, also those that must never be repeated.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulkhead.control import process, record
from bulkhead.control.lock import lock
from bulkhead.control.nginx import find_nginx
from bulkhead.control.supervisord import Supervisord
from bulkhead.records import ProxyRow, read_rows
from tests.support.ports import is_free
from tests.support.stack import ECHO, ROOT, Stack, new_stack, running_stack
from tests.support.trickle import Trickle, trickle
from tests.support.waiting import wait_until

pytestmark = pytest.mark.live

PROGRAMS = ("supervisord", "nginx", "watch", "api-1", "api-2", "web-1", "web-2")
VERBS = (["roll", "api"], ["scale", "api=3"], ["reload"], ["upgrade", "nginx"], ["reopen"])
SMALL = ("services.api.instances=2", "services.web.instances=2", "services.web.workers=1")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    # A short name: the path of a unix socket is limited.
    with running_stack(tmp_path_factory.mktemp("o") / "home", SMALL) as stack:
        yield stack


@pytest.fixture
def stack(shared: Stack) -> Iterator[Stack]:
    """A running stack, that a test leaves as it was: every instance serves, as it was set up."""
    settings = list(shared.settings)
    yield shared
    shared.settings[:] = settings
    left = shared.bulkhead("reload", "--dry-run").stdout
    if "nothing differs" not in left:
        shared.bulkhead("reload")  # the next test is not to fail for the failure of this one
    assert "nothing differs" in left
    ready = {name: one["ready"] for name, one in shared.status().items()}
    assert ready == dict.fromkeys(PROGRAMS, True)
    assert list(shared.home.out.glob("*")) == list(shared.home.closing.glob("*")) == []


def assert_unharmed(stack: Stack, load: Trickle) -> None:
    """No request failed, none had to move on, and nobody's idle connection was closed unannounced.

    The second and third are what makes the first more than luck: a small load seldom meets the
    moment in which it would fail.
    """
    assert load.failures == []
    wanted = {load.id(one.number) for one in load.sent}
    tries = {row.id: row.addrs for row in read_rows(stack.home.proxy_rows, ProxyRow)}
    moved_on = {id_: tries[id_] for id_ in wanted & set(tries) if ", " in tries[id_]}
    assert moved_on == {}
    assert wanted <= set(tries)
    assert load.found_closed == 0


def pids(stack: Stack) -> dict[str, int]:
    return {name: one["pid"] for name, one in stack.status().items()}


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name in before | after if before.get(name) != after.get(name)}


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
        assert "web-1 stays out of rotation" in done.stderr
        assert "untouched, and serving: web-2" in done.stderr
        assert pids(stack)["web-2"] == before["web-2"]
        assert (stack.home.out / "web-1").exists()
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
    wait_until("api-1 is out", (stack.home.out / "api-1").exists, every_s=0.001)
    roll.send_signal(signal.SIGINT)
    out, said = roll.communicate(timeout=60)
    assert (roll.returncode, said) == (130, "bulkhead: ended by SIGINT\n"), out
    assert changed(before, pids(stack)) == {"api-1"}


def test_a_reload_that_was_killed_half_way_is_finished_by_the_next(stack: Stack) -> None:
    before = pids(stack)
    stack.settings.append('services.api.env.PAGE="20"')
    reload = start(stack, "reload")
    wait_until("api-2 is out", (stack.home.out / "api-2").exists, every_s=0.001)
    reload.kill()
    reload.communicate()
    assert reload.returncode == -signal.SIGKILL
    with trickle(stack.url) as load:
        stack.bulkhead("reload")
    assert_unharmed(stack, load)
    after = pids(stack)
    assert changed(before, after) == {"api-1", "api-2"}
    for name in ("api-1", "api-2"):
        assert "PAGE=20" in Path(f"/proc/{after[name]}/environ").read_text().split("\0")
    stack.settings.pop()
    stack.bulkhead("reload")


def test_without_the_watchdog_nobody_is_taken_out(stack: Stack) -> None:
    before = pids(stack)
    supervisord = Supervisord(stack.home.supervisor_socket)
    watch = next(one for one in supervisord.programs() if one.name == "watch")
    supervisord.stop_soon(watch)
    watching = process.find(watch.pid)
    assert watching is None or process.wait_gone(watching, 10)
    done = stack.bulkhead("roll", "api", check=False)
    assert done.returncode == 5
    assert "api-1 was to leave the rotation, and nginx still gives it requests" in done.stderr
    assert not (stack.home.out / "api-1").exists()
    assert stack.get("/api/v1/whoami").status == 200
    supervisord.start(watch)
    assert changed(before, pids(stack)) == {"watch"}


def start(stack: Stack, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bulkhead.cli", *words],
        cwd=ROOT,
        env={**os.environ, "BULKHEAD_SET": " ".join(stack.settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_scaling_up_and_back_loses_no_request(stack: Stack) -> None:
    before = pids(stack)
    with trickle(stack.url) as load:
        said = stack.bulkhead("scale", "api=4").stdout
        up = pids(stack)
        wait_until(
            "the new ones get requests",
            lambda: {"api-3", "api-4"} <= {s.instance for s in load.sent},
        )
        back = stack.bulkhead("scale", "api=2").stdout
    assert_unharmed(stack, load)
    assert changed(before, up) == {"api-3", "api-4"}
    assert "stack.toml says api = 2" not in back
    assert "stack.toml says api = 2: the next reload or restart returns to that" in said
    assert pids(stack) == before
    assert is_free(stack.ports[3])
    assert is_free(stack.ports[4])


def test_a_scale_that_the_topology_does_not_allow_changes_nothing(stack: Stack) -> None:
    before = pids(stack)
    for words, code, complaint in (
        (["api=0"], 3, "services.api.instances = 0: must be at least 1"),
        (["ap=3"], 2, "scale ap: no such service; there are api, web"),
        (["api"], 2, "scale api: must be SERVICE=N"),
        (["api=40"], 3, "would listen on"),
    ):
        done = stack.bulkhead("scale", *words, check=False)
        assert (done.returncode, done.stdout) == (code, ""), words
        assert complaint in done.stderr
    assert pids(stack) == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(stack: Stack) -> None:
    before = pids(stack)
    words = ("--set", "services.api.instances=3", "--set", 'services.web.env.PAGE="20"')
    done = stack.bulkhead("reload", "--dry-run", *words)
    assert done.stdout.splitlines()[:2] == [
        "1. add api-3",
        "2. roll web-1, web-2: environment differs",
    ]
    assert "nothing has been changed: a dry run" in done.stdout
    assert pids(stack) == before


def test_a_reload_replaces_only_what_differs_and_loses_no_request(stack: Stack) -> None:
    before = pids(stack)
    with trickle(stack.url) as load:
        stack.settings.append('services.web.env.PAGE="20"')
        stack.bulkhead("reload")
        after = pids(stack)
        stack.settings.pop()
        stack.bulkhead("reload")
    assert_unharmed(stack, load)
    assert changed(before, after) == {"web-1", "web-2"}
    assert changed(after, pids(stack)) == {"web-1", "web-2"}


def test_a_reload_of_nginx_alone_loses_no_request(stack: Stack) -> None:
    """Not even one on a connection that nginx closes."""
    before, workers = pids(stack), stack.status()["nginx"]["workers"]
    with trickle(stack.url) as load:
        for seconds in (30, 31, 65):
            done = stack.bulkhead("reload", "--set", f"proxy.keepalive_s={seconds}")
            assert "new workers serve" in done.stdout
    assert_unharmed(stack, load)
    assert pids(stack) == before
    assert not set(workers) & set(stack.status()["nginx"]["workers"])


def test_another_nginx_takes_over_from_the_one_that_runs(stack: Stack, tmp_path: Path) -> None:
    """Another program at another path, and then other times for supervisord to keep to."""
    program = shutil.copy(find_nginx("nginx", ""), tmp_path / "nginx")
    before = pids(stack)
    with trickle(stack.url) as load:
        said = stack.bulkhead("reload", "--set", f"proxy.program={program}").stdout
        other = pids(stack)
        runs = Path(f"/proc/{other['nginx']}/exe").readlink()
        stack.bulkhead("reload", "--set", "proxy.grace_s=11")
        third = pids(stack)
        stack.bulkhead("reload")
    assert_unharmed(stack, load)
    assert "nginx: replaced" in said
    assert runs == Path(program)
    assert (
        changed(before, other) == changed(other, third) == changed(third, pids(stack)) == {"nginx"}
    )


def test_a_new_nginx_that_does_not_start_leaves_the_old_workers_serving(
    stack: Stack, tmp_path: Path
) -> None:
    """It likes its configuration, says its version, and dies as soon as it is to serve."""
    program = tmp_path / "nginx"
    real = find_nginx("nginx", "")
    program.write_text(f'#!/bin/sh\ncase "$1" in -t|-v|-V) exec {real} "$@";; esac\nexit 1\n')
    program.chmod(0o755)
    before = pids(stack)
    with trickle(stack.url) as load:
        done = stack.bulkhead("reload", "--set", f"proxy.program={program}", check=False)
    assert_unharmed(stack, load)
    assert done.returncode == 6
    assert "no new nginx serves within 15 s; 2 of 2 old workers serve on" in done.stderr
    assert "what had changed is back as it was, and serves" in done.stderr
    after = pids(stack)
    assert changed(before, after) == {"nginx"}
    assert Path(f"/proc/{after['nginx']}/exe").readlink() == real.resolve()


@pytest.mark.parametrize(
    ("change", "code", "complaint"),
    [
        ("services.api.instances=0", 3, "must be at least 1"),
        ("proxy.connections=4096", 5, "proxy.connections cannot change from 2048 to 4096"),
        ("services.web.port=PORT", 5, "web-1 cannot move from"),
        ("stack.name=another", 5, "stack.name cannot change from test to another"),
    ],
)
def test_a_bad_change_is_refused_before_anything_changes(
    stack: Stack, change: str, code: int, complaint: str
) -> None:
    before = pids(stack)
    files = {path: path.read_text() for path in stack.home.etc.iterdir()}
    change = change.replace("PORT", str(stack.ports[30]))
    done = stack.bulkhead("reload", "--set", change, check=False)
    assert done.returncode == code
    assert complaint in done.stderr
    assert pids(stack) == before
    assert {path: path.read_text() for path in stack.home.etc.iterdir()} == files


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        (["services.api.app=tests.support.crash"], "    the database password is missing"),
        (
            ["services.api.app=tests.support.silent", "services.api.boot_s=1"],
            "api-1 was not ready within 1 s",
        ),
    ],
)
def test_a_bad_version_rolls_back_by_itself(
    stack: Stack, version: list[str], complaint: str
) -> None:
    before = pids(stack)
    with trickle(stack.url) as load:
        words = [word for one in version for word in ("--set", one)]
        done = stack.bulkhead("reload", *words, check=False)
    assert_unharmed(stack, load)
    assert done.returncode == 6
    assert complaint in done.stderr
    assert "what had changed is back as it was, and serves" in done.stderr
    assert changed(before, pids(stack)) == {"api-1"}, "the second has never been touched"


def test_a_bad_version_of_new_instances_takes_them_away_again(stack: Stack) -> None:
    before = pids(stack)
    crash = ("services.api.instances=3", "services.api.app=tests.support.crash")
    words = [word for one in crash for word in ("--set", one)]
    assert stack.bulkhead("reload", *words, check=False).returncode == 6
    assert pids(stack) == before
    assert is_free(stack.ports[3])


def test_an_upgrade_of_nginx_loses_no_request(stack: Stack) -> None:
    before, workers = pids(stack), stack.status()["nginx"]["workers"]
    with trickle(stack.url) as load:
        done = json.loads(stack.bulkhead("upgrade", "nginx", "--json").stdout)
    assert_unharmed(stack, load)
    after = pids(stack)
    assert changed(before, after) == {"nginx"}
    assert (done["old_pid"], done["new_pid"]) == (before["nginx"], after["nginx"])
    assert done["old_version"] == done["new_version"] != ""
    assert [pid for pid in workers if process.find(pid)] == []


def test_reopened_rows_hold_every_request(stack: Stack) -> None:
    """Three rotations under load: the files together tell of every request, once."""
    with trickle(stack.url) as load:
        for _ in range(3):
            wait_for_more(load.sent)
            stack.bulkhead("reopen", "--keep", "9")
        wait_for_more(load.sent)
    wanted = {load.id(one.number) for one in load.sent}
    assert load.failures == []
    for rows, each in ((stack.home.proxy_rows, 1), (stack.home.service_rows, 2)):
        files = [rows, *(rows.with_name(f"{rows.name}.{number}") for number in (1, 2, 3))]
        assert all(path.stat().st_size for path in files)
        found = [json.loads(line)["id"] for path in files for line in path.read_text().splitlines()]
        mine = [id_ for id_ in found if id_ in wanted]
        assert set(mine) == wanted
        assert len(mine) == each * len(wanted)


def wait_for_more(sent: list[Any]) -> None:
    before = len(sent)
    wait_until("fifty more requests", lambda: len(sent) > before + 50)


def test_one_command_at_a_time(stack: Stack) -> None:
    with lock(stack.home):
        for words in VERBS:
            done = stack.bulkhead(*words, check=False)
            assert (done.returncode, done.stdout) == (5, ""), words
            assert f"another command (pid {os.getpid()}) is changing this stack" in done.stderr


def test_the_only_instance_of_a_service_is_rolled_while_its_requests_wait(tmp_path: Path) -> None:
    one = ("services.api.instances=1", "services.web.instances=1", "services.web.workers=1")
    settings = (*one, "proxy.hold_s=30")  # they must wait for as long as this machine takes
    with running_stack(tmp_path / "home", settings) as stack:
        with trickle(stack.url) as load:
            said = stack.bulkhead("roll", "api", "web").stdout
        assert load.failures == []
        assert "api has one instance: its requests wait in nginx meanwhile" in said


def test_without_the_watched_balancer_a_roll_says_what_it_relies_on(tmp_path: Path) -> None:
    settings = (*ECHO, "proxy.balancer=nginx", "services.api.instances=2")
    with running_stack(tmp_path / "home", settings) as stack:
        before = pids(stack)
        assert "nothing takes an instance out of rotation" in stack.bulkhead("roll", "api").stdout
        assert changed(before, pids(stack)) == {"api-1", "api-2"}
        stack.bulkhead("scale", "api=3")
        assert stack.status()["api-3"]["ready"]


def test_every_verb_refuses_a_stack_that_is_down(tmp_path: Path) -> None:
    with new_stack(tmp_path / "home", ECHO) as stack:
        for words in VERBS:
            done = stack.bulkhead(*words, check=False)
            assert (done.returncode, done.stdout) == (5, ""), words
            assert "is not up: run `make up`" in done.stderr
        assert record.read(stack.home) is None
