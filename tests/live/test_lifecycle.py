"""up, status, reload, down: what each leaves, and what each says when it cannot."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.clock import now
from bulkhead.supervise import record
from bulkhead.supervisor_rpc import Supervisord
from bulkhead.testing import is_free, wait_until
from tests.support.stack import ECHO, ROOT, Stack, new_stack, running_stack, unread

pytestmark = pytest.mark.live


def members(stack: Stack) -> list[proc.Process]:
    found = record.read(stack.home)
    assert found
    return found.members()


@pytest.fixture
def unwatched(tmp_path: Path) -> Iterator[Stack]:
    """A stack of echo instances without a watchdog, up."""
    settings = (*ECHO, "stack.watch=false", "proxy.balancer=nginx")
    with running_stack(tmp_path / "home", settings) as stack:
        yield stack


def assert_nothing_left(stack: Stack, members: list[proc.Process]) -> None:
    """Not even a note of anything in run/; the locks are files that nobody holds."""
    stack.assert_nothing_left(members)
    left = {path.name for path in stack.home.run.iterdir()}
    assert left <= {"lock", "watch.lock"}


def test_up_down_up_leaves_nothing_behind(down_stack: Stack) -> None:
    for _ in range(2):
        down_stack.bulkhead("up")
        first = members(down_stack)
        assert len(first) == 12, (
            "supervisord, the watchdog and its guard, nginx and its 2 workers, 6 instances"
        )
        down_stack.bulkhead("down")
        assert_nothing_left(down_stack, first)


def test_status_names_every_process_as_the_kernel_does(echo_stack: Stack) -> None:
    found = json.loads(echo_stack.bulkhead("status", "--json").stdout)
    assert set(found) == {"stack", "url", "home", "processes", "full"}
    assert found["url"] == echo_stack.url
    by_name = {one["name"]: one for one in found["processes"]}
    assert list(by_name) == [
        "supervisord", "watch", "nginx", "api-1", "api-2", "api-3", "api-4", "web-1", "web-2",
    ]  # fmt: skip
    pids = {one["pid"] for one in found["processes"]}
    pids.update(pid for one in found["processes"] for pid in one["workers"])
    assert pids == {one.pid for one in members(echo_stack)}
    for one in found["processes"]:
        assert one["ready"] is True
        assert one["state"] in ("RUNNING", "STARTING")
        assert one["restarts"] == 0
    for name in ("api-1", "web-2"):
        command = Path(f"/proc/{by_name[name]['pid']}/environ").read_text()
        assert f"BULKHEAD_INSTANCE={name}" in command
        assert f"BULKHEAD_ADDRESS={by_name[name]['address']}" in command


def test_up_again_changes_nothing(echo_stack: Stack) -> None:
    before = members(echo_stack)
    assert "up already" in echo_stack.bulkhead("up").stdout
    assert members(echo_stack) == before


@pytest.mark.parametrize("name", ["api-1", "nginx", "watch"])
def test_up_names_what_somebody_has_stopped_and_what_starts_it(
    echo_stack: Stack, name: str
) -> None:
    """At once: to wait would not help."""
    Supervisord(echo_stack.home.supervisor_socket).stop(name)
    began = now()
    refused = echo_stack.bulkhead("up", check=False)
    assert now() - began < 10, "the patience with what may still become ready is 10 s and more"
    assert refused.returncode == 5
    said, _, remedy = refused.stderr.rstrip("\n").partition("; start it: ")
    assert said == f"bulkhead: {name} is STOPPED: somebody has stopped it by hand"
    subprocess.run(shlex.split(remedy), check=True, capture_output=True)
    assert "is up already" in echo_stack.bulkhead("up").stdout


def test_down_twice_is_fine(echo_stack: Stack) -> None:
    echo_stack.bulkhead("down")
    assert "was not up" in echo_stack.bulkhead("down").stdout


def test_status_of_a_stack_that_is_down_says_so(down_stack: Stack) -> None:
    done = down_stack.bulkhead("status", check=False)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.endswith("is not up: run `make up`\n")


def test_everything_is_private_to_its_user(echo_stack: Stack) -> None:
    home = echo_stack.home
    for path in (home.path, *home.path.rglob("*")):
        if path != home.internal_socket and not path.is_relative_to(home.tmp):
            assert path.stat().st_mode & 0o077 == 0, path
    assert home.supervisor_socket.stat().st_mode & 0o777 == 0o700


def test_a_home_with_a_space_works(tmp_path_factory: pytest.TempPathFactory) -> None:
    tmp_path = tmp_path_factory.mktemp("a")  # a short name: the path of a unix socket is limited
    with new_stack(tmp_path / "home", ECHO) as stack:
        # BULKHEAD_SET is split at spaces, so this one goes by --set.
        words = ("--set", f"stack.home={tmp_path}/a home")
        stack.bulkhead("up", *words)
        try:
            assert stack.get("/api/").status == 200
        finally:
            stack.bulkhead("down", *words)


def test_an_up_that_nobody_reads_takes_back_what_it_began(tmp_path: Path) -> None:
    settings = [*ECHO, "services.web.app=tests.support.silent", "services.web.boot_s=1"]
    with new_stack(tmp_path / "home", settings) as stack:
        with unread() as out:
            done = stack.bulkhead("up", check=False, out=out)
        assert done.returncode == 6
        assert "web-1 did not answer within 1 s" in done.stderr
        assert "BrokenPipe" not in done.stderr
        assert record.read(stack.home) is None
        assert all(map(is_free, stack.ports))


def start(stack: Stack, verb: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bulkhead.cli", verb],
        cwd=ROOT,
        env={**os.environ, "BULKHEAD_SET": " ".join(stack.settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("early", [True, False])
def test_an_interrupted_up_takes_everything_back(
    tmp_path: Path, number: signal.Signals, code: int, early: bool
) -> None:
    """Early: while supervisord is being born. Late: when half of the instances serve."""
    settings = [*ECHO, "services.web.app=tests.support.silent"]
    with new_stack(tmp_path / "home", settings) as stack:
        up = start(stack, "up")
        if early:
            out = stack.home.log / "supervisord.out"
            wait_until("supervisord is about to start", out.exists, every_s=0)
        else:
            wait_until("the stack has begun to start", lambda: record.read(stack.home))
            wait_until("api serves", lambda: not is_free(stack.ports[1]))
            busy = stack.bulkhead("down", check=False)
            assert f"another command (pid {up.pid}) is changing this stack" in busy.stderr
            assert busy.returncode == 5
        up.send_signal(number)
        _, said = up.communicate(timeout=60)
        assert up.returncode == code
        assert said == f"bulkhead: ended by {number.name}\n"
        assert record.read(stack.home) is None
        assert all(map(is_free, stack.ports))


def test_a_second_ctrl_c_does_not_cut_the_taking_back_short(tmp_path: Path) -> None:
    settings = [*ECHO, "services.web.app=tests.support.silent"]
    with new_stack(tmp_path / "home", settings) as stack:
        up = start(stack, "up")
        wait_until("api serves", lambda: not is_free(stack.ports[1]))
        up.send_signal(signal.SIGINT)
        wait_until("it is being stopped", stack.home.stopping.exists, every_s=0.001)
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)
        assert up.returncode == 130
        assert record.read(stack.home) is None
        assert all(map(is_free, stack.ports))


def test_an_up_ends_a_stop_that_was_cut_short(echo_stack: Stack) -> None:
    """Else the watchdog would bring nothing back, and nobody would know."""
    echo_stack.home.stopping.touch()
    assert "up already" in echo_stack.bulkhead("up").stdout
    assert not echo_stack.home.stopping.exists()


def test_a_supervisord_that_is_shutting_down_is_named_and_waited_for(tmp_path: Path) -> None:
    settings = [*ECHO, "stack.watch=false", "proxy.balancer=nginx", "services.api.grace_s=60"]
    with running_stack(tmp_path / "home", settings) as stack:
        found = record.read(stack.home)
        slow = record.leader(stack.home, "api-1")
        assert found
        assert slow
        proc.send(slow, signal.SIGSTOP)  # it ends when the test lets it
        proc.send(found.supervisord, signal.SIGTERM)
        supervisord = Supervisord(stack.home.supervisor_socket)
        wait_until("it shuts down", lambda: not supervisord.answers())
        status = stack.bulkhead("status", check=False)
        assert status.returncode == 5
        assert f"supervisord (pid {found.pid}) does not answer (it is shutting" in status.stderr
        down = start(stack, "down")
        wait_until("it is being stopped", stack.home.stopping.exists)
        proc.send(slow, signal.SIGCONT)
        out, said = down.communicate(timeout=100)
        assert (down.returncode, said) == (0, "")
        assert "the stack is down" in out
        log = stack.home.supervisord_log.read_text()
        names = ["nginx", *(f"api-{n}" for n in range(1, 5)), "web-1", "web-2"]
        assert [name for name in names if f"stopped: {name} (" not in log] == []
        assert "SIGKILL" not in log


def test_down_works_whatever_is_wrong_in_the_topology_by_now(echo_stack: Stack) -> None:
    broken = ("--set", "services.api.instances=0", "--set", "services.web.static=gone")
    assert echo_stack.bulkhead("up", *broken, check=False).returncode == 3
    assert echo_stack.bulkhead("status", *broken).returncode == 0
    assert "the stack is down" in echo_stack.bulkhead("down", *broken).stdout


def test_a_hung_supervisord_is_named_and_does_not_stop_a_stop(unwatched: Stack) -> None:
    found = record.read(unwatched.home)
    assert found
    proc.send(found.supervisord, signal.SIGSTOP)
    status = unwatched.bulkhead("status", check=False)
    assert status.returncode == 5
    assert f"supervisord (pid {found.pid}) does not answer" in status.stderr
    began = now()
    assert "the stack is down" in unwatched.bulkhead("down").stdout
    assert now() - began < 30, "it waited for somebody who could not come"


def test_a_home_that_cannot_be_made_is_one_clear_line(down_stack: Stack) -> None:
    done = down_stack.bulkhead("up", "--set", "stack.home=/dev/null/home", check=False)
    assert done.returncode == 71
    assert done.stderr == "bulkhead: [Errno 20] Not a directory: '/dev/null/home/run'\n"


def test_another_topology_is_not_applied_behind_the_operators_back(echo_stack: Stack) -> None:
    echo_stack.settings.append("services.api.instances=3")
    done = echo_stack.bulkhead("up", check=False)
    assert done.returncode == 5
    assert (
        "and the templates now give another peers and supervisord.conf and watch.json: "
        "run `make reload` to apply it" in done.stderr
    )


def test_reload_applies_a_change_without_losing_a_request(echo_stack: Stack) -> None:
    """Clients that open a connection for each request see nothing of five reloads."""
    failed: list[object] = []
    done = threading.Event()

    def client() -> None:
        while not done.is_set():
            answer = echo_stack.get("/api/")
            if answer.status != 200:
                failed.append(answer)

    thread = threading.Thread(target=client)
    thread.start()
    try:
        for number in range(5):
            policy = ("ip_hash", "least_conn")[number % 2]
            echo_stack.settings.append(f"services.api.policy={policy}")
            assert "read its configuration again" in echo_stack.bulkhead("reload").stdout
    finally:
        done.set()
        thread.join()
    assert failed == []
    assert {echo_stack.get("/api/").instance for _ in range(6)} == {"api-1"}, "ip_hash is in force"


def test_reload_lets_a_request_finish_and_closes_idle_connections(tmp_path: Path) -> None:
    # The real API, which is slow when it is asked to; and old workers that announce nothing.
    settings = [one for one in ECHO if "services.api" not in one] + ["proxy.closing_s=0"]
    with running_stack(tmp_path / "home", settings) as stack:
        idle = HTTPConnection("127.0.0.1", stack.ports[0], timeout=10)
        idle.request("GET", "/")
        idle.getresponse().read()
        with ThreadPoolExecutor(1) as pool:
            under_way = pool.submit(stack.get, "/api/v1/work?ms=7000")
            stack.bulkhead("reload")
            assert "work?ms" not in stack.home.proxy_rows.read_text(), "it ended before the reload"
            assert under_way.result().status == 200
        assert idle.sock
        assert idle.sock.recv(1) == b"", "an idle connection is closed by a reload"
        idle.close()


def test_nginx_refusing_a_change_keeps_the_old_one(echo_stack: Stack) -> None:
    before = echo_stack.home.nginx_conf.read_text()
    members_before = members(echo_stack)
    echo_stack.settings += ["services.api.policy=hash", "services.api.hash_key=$no_such_variable"]
    for verb in ("reload", "restart"):
        done = echo_stack.bulkhead(verb, check=False)
        assert done.returncode == 3, verb
        assert 'unknown "no_such_variable" variable' in done.stderr
        assert echo_stack.home.nginx_conf.read_text() == before
        assert members(echo_stack) == members_before, "a refused restart stops nothing"
    assert echo_stack.get("/api/").status == 200


def test_restart_applies_every_change(echo_stack: Stack) -> None:
    echo_stack.settings.append("services.api.instances=2")
    echo_stack.bulkhead("restart")
    assert [name for name in echo_stack.status() if name.startswith("api")] == ["api-1", "api-2"]


def test_reload_without_nginx_says_so_and_signals_nobody(echo_stack: Stack) -> None:
    """A stale pid file may name a stranger; here it names one that a SIGHUP would end."""
    Supervisord(echo_stack.home.supervisor_socket).stop("nginx")
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (echo_stack.home.run / "nginx.pid").write_text(str(stranger.pid))
        for _ in range(2):
            done = echo_stack.bulkhead("reload", check=False)
            assert done.returncode == 5
            assert "nginx is not running now" in done.stderr
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_all_of_nginx_killed_comes_back_by_itself(echo_stack: Stack) -> None:
    """Its unix socket stays behind, and no nginx can bind to what is left of one."""
    before = echo_stack.status()["nginx"]
    pids = [before["pid"], *before["workers"]]
    victims = [one for one in members(echo_stack) if one.pid in pids]
    assert len(victims) == 3
    for victim in victims:
        proc.send(victim, signal.SIGKILL)

    def ready() -> bool:
        return bool(echo_stack.status()["nginx"]["ready"])

    wait_until("nginx serves again", ready)
    assert echo_stack.get("/api/").status == 200


def test_what_a_dead_supervisord_left_is_named_and_replaced(unwatched: Stack) -> None:
    """Without a watchdog; with one it is replaced before anybody can look."""
    found = record.read(unwatched.home)
    assert found
    proc.send(found.supervisord, signal.SIGKILL)
    proc.wait_gone(found.supervisord, 5)
    left = found.members()
    assert len(left) == 9
    status = unwatched.bulkhead("status", check=False)
    assert status.returncode == 5
    assert "is dead and 9 of its processes run on without it" in status.stderr
    assert "stopping the 9 processes" in unwatched.bulkhead("up").stdout
    assert [one for one in left if proc.alive(one)] == []
    assert unwatched.get("/api/").status == 200


def test_a_killed_instance_is_back_and_counted(echo_stack: Stack) -> None:
    before = echo_stack.status()
    victim = proc.find(before["api-2"]["pid"])
    assert victim
    proc.send(victim, signal.SIGKILL)
    proc.wait_gone(victim, 5)
    wait_until("api-2 listens again", lambda: not is_free(echo_stack.ports[2]))
    wait_until("api-2 is ready", lambda: echo_stack.status()["api-2"]["ready"])
    after = echo_stack.status()
    assert after["api-2"]["pid"] != before["api-2"]["pid"]
    assert {name: one["restarts"] for name, one in after.items() if one["restarts"]} == {"api-2": 1}
    untouched = [name for name in before if before[name]["pid"] == after[name]["pid"]]
    assert len(untouched) == 8


def test_two_stacks_run_side_by_side(echo_stack: Stack, tmp_path: Path) -> None:
    with running_stack(tmp_path / "other", ECHO) as other:
        assert other.get("/").status == echo_stack.get("/").status == 200
        other.bulkhead("down")
        assert echo_stack.get("/").status == 200
