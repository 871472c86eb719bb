"""The watchdog over real processes and a real supervisord: what dies, hangs, drains or crashes."""

import os
from functools import partial
from itertools import pairwise
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, SIGUSR1, SIGUSR2

import pytest

from bulkhead import proc
from bulkhead.clock import age, now, pause
from bulkhead.proc import Process
from bulkhead.supervisor_rpc import Supervisord
from bulkhead.watchdog.liveness import STOPPED_S
from tests.watchdog.harness import FakeNginx, Little, Service, cpu_s, little, wait_until

pytestmark = pytest.mark.live

# supervisord alone takes more than a second (test_without_a_watchdog_it_takes_longer).
SOON_S = 0.5


def back_after(stack: Little, name: str, old: Process, began: float) -> float:
    """How long it took until there was another process; its boot is its own business."""
    new = stack.up(name, than=old)
    started = {row.detail: row.t for row in stack.rows("started", name)}
    return started[str(new.pid)] - began


def knows(nginx: FakeNginx, states: dict[str, str]) -> bool:
    return nginx.states() == states


def hung_or_dead(stack: Little, one: Process) -> bool:
    return stack.state("api-1").get("state") == "hung" or stack.leader("api-1") != one


def kill(one: Process) -> float:
    began = now()
    assert proc.send(one, SIGKILL)
    return began


def test_what_is_killed_is_back_at_once(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1"), Service("api-2")) as stack:
        other = stack.up("api-2")
        old = stack.up("api-1")
        assert back_after(stack, "api-1", old, kill(old)) < SOON_S
        new = stack.up("api-1")
        assert [row.detail for row in stack.rows("exit", "api-1")] == [str(old.pid)]
        for kind in ("started", "ready"):
            pids = [row.detail for row in stack.rows(kind, "api-1")]
            assert pids == [str(old.pid), str(new.pid)]
        assert stack.up("api-2") == other
        assert stack.rows("hang") == []


def test_without_a_watchdog_it_takes_longer(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1"), watched=False) as stack:
        log = stack.home.log / "supervisord.log"
        wait_until("supervisord is idle", lambda: "entered RUNNING" in log.read_text())
        old = stack.leader("api-1")
        assert old
        began = kill(old)
        wait_until("it is back", lambda: stack.leader("api-1") not in (None, old), every_s=0.005)
        assert now() - began > SOON_S


def test_what_is_killed_while_it_boots_is_back_at_once(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1")) as stack:
        old = stack.up("api-1")
        kill(old)
        young = wait_until(
            "a new process",
            lambda: one if (one := stack.leader("api-1")) != old else None,
            every_s=0.001,
        )
        began = kill(young)
        assert back_after(stack, "api-1", young, began) < SOON_S
        assert stack.rows("crashing") == []


def test_all_at_once(tmp_path: Path) -> None:
    names = ["api-1", "api-2", "api-3", "api-4"]
    with little(tmp_path, *map(Service, names)) as stack:
        old = {name: stack.up(name) for name in names}
        began = now()
        for one in old.values():
            kill(one)
        assert all(back_after(stack, name, old[name], began) < SOON_S for name in names)


def test_a_crash_loop_pauses_and_ends_when_its_cause_is_gone(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    with little(tmp_path, Service("api-1", environment={"BROKEN": str(broken)})) as stack:
        served = stack.up("api-1")
        broken.touch()
        proc.send(served, SIGKILL)
        stack.row("crashing", "api-1", 3)
        _, *exits = [row.t for row in stack.rows("exit", "api-1")]
        pauses = [after - before for before, after in pairwise(exits)]
        assert pauses[0] < SOON_S  # the first may have been an accident
        assert 1.0 < pauses[1] < 2.0 < pauses[2] < 3.0
        assert stack.state("api-1") | {"since": 0} == {
            "pid": 0,
            "state": "crashing",
            "since": 0,
            "crashes": 4,
            "ready_pids": [],
        }
        mended = now()
        broken.unlink()
        stack.up("api-1")
        assert now() - mended < 5.0
        assert stack.row("recovered", "api-1").detail == "after 4 failures"
        assert stack.state("api-1")["crashes"] == 0


def test_a_stopped_process_is_killed_and_back_within_a_second(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1")) as stack:
        old = stack.up("api-1")
        began = now()
        proc.send(old, SIGSTOP)
        assert back_after(stack, "api-1", old, began) < 1.0
        assert stack.row("hang", "api-1").detail.startswith(f"{old.pid} stopped for 0.2")


def test_one_that_is_stopped_for_a_moment_lives(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1")) as stack:
        old, moment = None, False
        for _ in range(3):  # where processors are short, a stop of ours may last longer than that
            old, began = stack.up("api-1", than=old), now()
            proc.send(old, SIGSTOP)
            wait_until("it is hung", partial(hung_or_dead, stack, old), every_s=0.001)
            proc.send(old, SIGCONT)
            if moment := now() - began < STOPPED_S:
                break
        assert moment
        stack.is_in("api-1", "up")
        assert stack.leader("api-1") == old


def test_a_loop_that_does_not_turn_is_killed(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1"), Service("api-2", hang_s=0)) as stack:
        patient = stack.up("api-2")
        proc.send(patient, SIGUSR1)
        old = stack.up("api-1")
        proc.send(old, SIGUSR1)
        stack.up("api-1", than=old)
        assert stack.row("hang", "api-1").detail.startswith(f"{old.pid} no turn for 0.5")
        assert cpu_s(patient) > 0.2  # it has not turned either
        assert stack.leader("api-2") == patient


def test_a_starved_process_is_not_killed(tmp_path: Path) -> None:
    """Below six busy processes its turns take longer than `hang_s`, and that is not its fault."""
    busy = Service("web-1", workers=6, hang_s=0)
    with little(tmp_path, Service("api-1", hang_s=0.3), busy) as stack:
        old = stack.up("api-1")
        wait_until("six workers", lambda: len(stack.state("web-1")["ready_pids"]) == 6)
        for worker in proc.children(stack.up("web-1").pid):
            proc.send(worker, SIGUSR1)
        os.setpriority(os.PRIO_PROCESS, old.pid, 10)
        proc.send(old, SIGUSR2)
        schedule = Path(f"/proc/{old.pid}/schedstat")

        def waited_s() -> float:
            return int(schedule.read_text().split()[1]) / 1e9

        before, ran = waited_s(), cpu_s(old)
        wait_until("it has waited for processors", lambda: waited_s() - before > 4.0)
        # A turn is 0.1 s of computing: on the average it took longer than `hang_s`.
        assert (waited_s() - before) / (cpu_s(old) - ran) > 0.3 / 0.1
        assert stack.rows("hang") == []
        assert stack.leader("api-1") == old
        assert stack.state("api-1")["state"] == "up"


def test_a_worker_that_hangs_is_killed_alone(tmp_path: Path) -> None:
    with little(tmp_path, Service("web-1", workers=2)) as stack:
        master = stack.up("web-1")
        wait_until("two workers", lambda: len(stack.state("web-1")["ready_pids"]) == 2)
        worker = proc.children(master.pid)[0]
        proc.send(worker, SIGUSR1)
        stack.row("ready", "web-1", 3)
        assert stack.row("hang", "web-1").detail.startswith(f"{worker.pid} no turn for 0.5")
        assert stack.leader("web-1") == master
        assert stack.rows("exit") == []


def test_a_master_that_is_stopped_is_killed(tmp_path: Path) -> None:
    with little(tmp_path, Service("web-1", workers=2)) as stack:
        master = stack.up("web-1")
        proc.send(master, SIGSTOP)
        stack.row("exit", "web-1")
        assert stack.row("hang", "web-1").detail.startswith(f"{master.pid} stopped for 0.2")


def test_a_stopped_worker_of_nginx_is_killed_alone(tmp_path: Path) -> None:
    with little(tmp_path, Service("nginx", workers=2, kind="nginx")) as stack:
        master = stack.up("nginx")
        assert stack.row("ready", "nginx").detail == str(master.pid)
        worker = proc.children(master.pid)[0]
        proc.send(worker, SIGSTOP)
        assert proc.wait_gone(worker, 10)
        wait_until("it is replaced", lambda: len(proc.children(master.pid)) == 2)
        assert stack.up("nginx") == master
        hang = stack.row("hang", "nginx").detail
        assert hang.startswith(f"{worker.pid} stopped for 0.2")
        assert hang.endswith("(a worker)")


def test_what_an_operator_stops_stays_stopped(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1")) as stack:
        old = stack.up("api-1")
        rpc = Supervisord(stack.home.supervisor_socket)
        rpc.end("api-1", 10)
        stack.is_in("api-1", "down")
        found = rpc.find("api-1")
        assert found
        assert found.state == "STOPPED"
        rpc.start("api-1")
        stack.up("api-1", than=old)


def test_nginx_is_told_at_once_and_all_the_time(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1"), Service("web-1", workers=1), peers=True) as stack:
        nginx = stack.nginx()
        wait_until("it is told", lambda: nginx.states() == {"api-1": "up", "web-1": "up"})
        old = stack.up("api-1")
        kill(old)
        new = stack.up("api-1", than=old)
        ready = stack.row("ready", "api-1", 2).t
        exited = stack.row("exit", "api-1").t
        wait_until("it is told", lambda: nginx.states()["api-1"] == "up")
        said = [(t, table["api-1"]) for t, table in nginx.tables]
        told = [state for _, (state, _) in said]
        assert [b for a, b in pairwise(["", *told]) if a != b] == ["up", "down", "up"]
        # That it does not wait for the next turn of a quarter of a second: test_tell.py.
        assert exited <= next(t for t, peer in said if peer == ("down", 0))
        assert ready <= next(t for t, peer in said if peer == ("up", new.pid))
        since = len(nginx.tables)
        wait_until("it is told again", lambda: len(nginx.tables) >= since + 4)
        assert nginx.connections < len(nginx.tables)  # one, unless this nginx was late to answer


def test_the_workers_of_a_dead_master_are_up_until_another_serves(tmp_path: Path) -> None:
    with little(tmp_path, Service("web-1", workers=2), peers=True) as stack:
        nginx = stack.nginx()
        wait_until("it is told", lambda: nginx.states() == {"web-1": "up"})
        old = stack.up("web-1")
        wait_until("both are ready", lambda: len(stack.state("web-1")["ready_pids"]) == 2)
        orphans = proc.children(old.pid)
        kill(old)
        stack.up("web-1", than=old)
        wait_until("they are let go", lambda: not any(map(proc.alive, orphans)))
        served, retired = stack.row("ready", "web-1", 3), stack.row("orphan", "web-1")
        assert served.t <= retired.t
        assert {table["web-1"][0] for _, table in nginx.tables} == {"up"}
        wait_until("all is well", lambda: len(stack.state("web-1")["ready_pids"]) == 2)


def test_an_nginx_that_starts_anew_is_told_anew(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1"), peers=True) as stack:
        for _ in range(2):
            nginx = stack.nginx()
            wait_until("it is told", partial(knows, nginx, {"api-1": "up"}))
            nginx.close()
        assert "watch:" not in (stack.home.log / "watch.log").read_text()


def test_an_instance_that_drains_or_is_drained_is_out(tmp_path: Path) -> None:
    api = Service("api-1", environment={"DRAIN": "0.5"})
    with little(tmp_path, api, Service("api-2"), peers=True) as stack:
        nginx = stack.nginx()
        (stack.home.drained / "api-2").touch()
        wait_until("one is out", lambda: nginx.states() == {"api-1": "up", "api-2": "drained"})
        (stack.home.drained / "api-2").unlink()
        wait_until("it is back", lambda: nginx.states() == {"api-1": "up", "api-2": "up"})
        old = stack.up("api-1")
        proc.send(old, SIGTERM)
        stack.up("api-1", than=old)
        wait_until("it is told", lambda: nginx.states()["api-1"] == "up")
        said = [table["api-1"][0] for _, table in nginx.tables]
        changes = [b for a, b in pairwise(said) if a != b]
        assert changes[-3:] == ["drained", "down", "up"]
        assert stack.rows("hang") == []


def test_a_watchdog_that_is_killed_comes_back_and_knows_everybody(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1"), Service("web-1", workers=2), peers=True) as stack:
        api = stack.up("api-1")
        wait_until("two workers", lambda: len(stack.state("web-1")["ready_pids"]) == 2)
        watch = stack.up("watch")
        nginx = stack.nginx()
        wait_until("nginx is told", lambda: nginx.states() == {"api-1": "up", "web-1": "up"})
        began = kill(watch)
        new = stack.up("watch", than=watch)
        assert now() - age(new.start_ticks) - began < SOON_S
        since = len(nginx.tables)
        wait_until("nginx is told", lambda: len(nginx.tables) > since + 2)
        assert {peer[0] for _, table in nginx.tables for peer in table.values()} == {"up"}
        assert [row.detail for row in stack.rows("watching")] == [str(watch.pid), str(new.pid)]
        assert len(stack.rows("ready")) == 3
        assert len(stack.rows("started", "api-1")) == 1
        assert back_after(stack, "api-1", api, kill(api)) < SOON_S


def test_a_watchdog_that_knows_nothing_learns_all_from_heartbeats(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1"), Service("web-1", workers=2)) as stack:
        stack.row("ready", "web-1", 2)
        watch = stack.up("watch")
        proc.send(watch, SIGSTOP)
        (stack.home.run / "watch.json").unlink()
        kill(watch)
        stack.up("watch", than=watch)
        began = stack.row("watching", "watch", 2).t
        stack.up("api-1")
        wait_until("two workers", lambda: len(stack.state("web-1")["ready_pids"]) == 2)
        assert [row.t - began < 0.5 for row in stack.rows("ready") if row.t > began] == [True] * 3


def test_a_guard_that_is_killed_is_replaced_with_its_watchdog(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1")) as stack:
        api, watch = stack.up("api-1"), stack.up("watch")
        (guard,) = proc.children(watch.pid)
        kill(guard)
        new = stack.up("watch", than=watch)
        (other,) = wait_until("it has a guard", lambda: proc.children(new.pid))
        assert other != guard
        assert stack.up("api-1") == api
        assert stack.rows("exit", "api-1") == []
        assert "Traceback" not in (stack.home.log / "watch.log").read_text()


def test_a_watchdog_that_is_stopped_is_replaced(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1")) as stack:
        api, watch = stack.up("api-1"), stack.up("watch")
        proc.send(watch, SIGSTOP)
        stack.up("watch", than=watch)
        assert stack.up("api-1") == api
        assert stack.rows("hang") == []
        assert back_after(stack, "api-1", api, kill(api)) < SOON_S


def test_nothing_is_brought_back_while_the_stack_is_stopping(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1")) as stack:
        old = stack.up("api-1")
        stack.home.stopping.touch()
        proc.send(old, SIGSTOP)
        pause(0.6)  # three times as long as it would take: nothing is to be seen
        assert stack.leader("api-1") == old
        proc.send(old, SIGCONT)
        supervisord = proc.find(stack.session)
        assert supervisord
        kill(supervisord)
        kill(old)
        stack.row("exit", "api-1")
        pause(0.6)
        assert stack.leader("api-1") is None
        assert stack.rows("supervisord") == []


def test_it_ends_when_told_to_and_leaves_no_socket(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1")) as stack:
        guard = proc.children(stack.up("watch").pid)
        stack.home.stopping.touch()
        Supervisord(stack.home.supervisor_socket).end("watch", 40)
        log = (stack.home.log / "supervisord.log").read_text()
        assert "stopped: watch (exit status 0)" in log  # and not by SIGKILL, after its grace time
        assert not stack.home.notify_socket.exists()
        assert [proc.wait_gone(one, 5) for one in guard] == [True]


def test_a_broken_configuration_is_said_and_the_old_one_kept(tmp_path: Path) -> None:
    with little(tmp_path, Service("api-1")) as stack:
        good = stack.home.watch_conf.read_text()
        stack.home.watch_conf.write_text("{")
        log = stack.home.log / "watch.log"
        wait_until("it is said", lambda: "watch: watch.json:" in log.read_text())
        old = stack.up("api-1")
        assert back_after(stack, "api-1", old, kill(old)) < SOON_S
        stack.home.watch_conf.write_text(good.replace('"api-1"', '"other-1"'))
        wait_until("it is read", lambda: stack.state("other-1"))
        assert stack.state("api-1") == {}
        assert len(log.read_text().splitlines()) == 1
