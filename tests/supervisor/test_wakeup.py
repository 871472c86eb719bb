"""supervisor/wakeup.py in a plain supervisord: no launcher, no watchdog."""

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import cast

import pytest

from bulkhead import supervisor_rpc
from bulkhead.clock import now, pause
from bulkhead.testing import free_ports, wait_until
from tests.support.stack import ROOT

pytestmark = pytest.mark.live

PLUGIN = """
[rpcinterface:wakeup]
supervisor.rpcinterface_factory=wakeup:make
"""
CONF = """
[unix_http_server]
file={folder}/s.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
{plugins}
[supervisord]
nodaemon=true
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
"""
PROGRAM = """
[program:p{at}]
command={python} {program} {port} {folder}/broken
startsecs={startsecs}
startretries=100
autorestart=true
stdout_logfile={folder}/p{at}.log
"""
KILLS = 7


class Supervisord:
    """A running supervisord with a few programs."""

    def __init__(
        self,
        folder: Path,
        ports: Sequence[int],
        plugins: str,
        startsecs: int,
        more: str,
        inherited: Sequence[int],
    ) -> None:
        self.folder, self.ports = folder, ports
        text = CONF.format(folder=folder, plugins=plugins) + more
        for at, port in enumerate(ports):
            program = ROOT / "tests" / "supervisor" / "program.py"
            text += PROGRAM.format(
                at=at, folder=folder, python=sys.executable, program=program, port=port,
                startsecs=startsecs,
            )  # fmt: skip
        conf = folder / "supervisord.conf"
        conf.write_text(text)
        self.child = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-s", "-c", conf],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT / "supervisor")},
            pass_fds=inherited,
        )  # fmt: skip
        self.rpc = supervisor_rpc.Supervisord(folder / "s.sock", 10)

    def log(self) -> str:
        return (self.folder / "supervisord.log").read_text()

    def pid(self, at: int) -> int:
        """By the log: a call would wake supervisord."""
        words = [line.split() for line in self.log().splitlines() if f"spawned: 'p{at}'" in line]
        return int(words[-1][-1]) if words else 0

    def replaced(self, at: int, pid: int) -> bool:
        return self.pid(at) != pid

    def spawns(self, at: int) -> int:
        return self.log().count(f"spawned: 'p{at}'")

    def accepts(self, at: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.ports[at]), timeout=5).close()
        except OSError:
            return False
        return True

    def wait_accepting(self) -> None:
        for at in range(len(self.ports)):
            wait_until(f"p{at} accepts", partial(self.accepts, at), every_s=0.002)

    def back_after_kill(self, at: int = 0) -> float:
        """Seconds from SIGKILL to accepting again."""
        self.wait_accepting()
        started, before = now(), self.spawns(at)
        os.kill(self.pid(at), signal.SIGKILL)
        wait_until("it was started again", lambda: self.spawns(at) > before, every_s=0.002)
        self.wait_accepting()
        return now() - started

    def ready(self, *names: str) -> None:
        self.rpc.say_ready(list(names))

    def state(self, at: int) -> str:
        return cast(str, self.rpc.call("supervisor.getProcessInfo", f"p{at}")["statename"])

    def wait_running(self) -> None:
        for at in range(len(self.ports)):
            wait_until(f"p{at} runs", partial(self.has_logged, f"success: p{at} entered RUNNING"))

    def has_logged(self, text: str, times: int = 1) -> bool:
        return self.log().count(text) >= times

    def wake_ups(self) -> int:
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


@contextmanager
def supervisord(
    folder: Path,
    programs: int = 1,
    plugins: str = PLUGIN,
    startsecs: int = 1,
    more: str = "",
    inherited: Sequence[int] = (),
) -> Iterator[Supervisord]:
    with free_ports() as ports:
        running = Supervisord(folder, ports[:programs], plugins, startsecs, more, inherited)
        try:
            wait_until("it listens", (folder / "s.sock").exists)
            yield running
            running.child.terminate()
            assert running.child.wait(20) == 0
        except BaseException:
            print(running.log())
            raise
        finally:
            running.child.kill()
            running.child.wait()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")  # a short name: the path of a unix socket is limited


def test_a_dead_program_is_back_long_before_the_next_poll(folder: Path) -> None:
    """Plain supervisord needs about 1.1 s, and sometimes 2."""
    with supervisord(folder, programs=4) as running:
        running.wait_accepting()
        running.wait_running()
        times = []
        for kill in range(KILLS):
            times.append(running.back_after_kill(kill % 4))
            pause(1.1)  # longer than `startsecs`
        assert median(times) < 0.5, times


def test_plain_supervisord_takes_longer(folder: Path) -> None:
    with supervisord(folder, plugins="") as running:
        running.wait_accepting()
        running.wait_running()
        assert running.back_after_kill() > 0.5


def test_all_programs_that_die_at_once_are_back_at_once(folder: Path) -> None:
    """No death is missed that comes between the reaping of others and the next poll."""
    with supervisord(folder, programs=4) as running:
        running.wait_accepting()
        running.wait_running()
        for _ in range(5):
            pids = [running.pid(at) for at in range(4)]
            started = now()
            for at, pid in enumerate(pids):
                os.kill(pid, signal.SIGKILL)
                pause(0.0005 * at)
            for at, pid in enumerate(pids):
                wait_until(f"p{at} is back", partial(running.replaced, at, pid), every_s=0.002)
            assert now() - started < 0.5
            running.wait_accepting()
            pause(1.2)


def test_idle_it_costs_no_wake_ups(folder: Path) -> None:
    counts = []
    for plugins in ("", PLUGIN):
        with supervisord(folder, programs=0, plugins=plugins) as running:
            pause(0.5)
            before = running.wake_ups()
            pause(4)
            counts.append(running.wake_ups() - before)
        (folder / "s.sock").unlink(missing_ok=True)
    plain, woken = counts
    assert woken <= plain + 2 <= 8, counts


def test_early_deaths_in_a_row_get_growing_pauses_that_end_on_time(folder: Path) -> None:
    (folder / "broken").touch()
    with supervisord(folder, startsecs=5) as running:
        spawned: list[float] = []
        for count in range(1, 6):
            started = partial(running.has_logged, "spawned: 'p0'", count)
            wait_until("a start", started, every_s=0.002)
            spawned.append(now())
        pauses = [after - before for before, after in pairwise(spawned)]
        assert pauses[0] < 0.6
        for pause_s, expected_s in zip(pauses[1:], (1, 2, 3), strict=True):
            assert expected_s < pause_s < expected_s + 0.6, pauses
        (folder / "broken").unlink()
        running.wait_accepting()
        # The count goes on until the program is ready, or has lived for `startsecs`.
        assert running.back_after_kill() > 3


def test_a_program_that_became_ready_is_back_at_once_however_soon_it_dies(folder: Path) -> None:
    with supervisord(folder, programs=2, startsecs=60) as running:
        for _ in range(4):
            running.wait_accepting()
            running.ready("p0", "p1:p1", "unknown")
            assert running.back_after_kill(0) < 0.6
            assert running.back_after_kill(1) < 0.6
        running.ready("p0")
        times = [running.back_after_kill(0) for _ in range(3)]
        assert max(times[:2]) < 0.6  # the second was no more ready, but may be an accident
        assert times[2] > 1


def test_the_pause_of_a_program_ends_when_it_is_said_to_have_been_ready(folder: Path) -> None:
    """Its death was quicker than the call."""
    with supervisord(folder, startsecs=60) as running:
        for _ in range(2):
            running.back_after_kill()
        running.wait_accepting()
        os.kill(running.pid(0), signal.SIGKILL)
        wait_until("it pauses", lambda: running.state(0) == "BACKOFF", every_s=0.002)
        started = now()
        running.ready("p0")
        running.wait_accepting()
        assert now() - started < 0.6


def test_a_program_whose_command_is_missing_gets_pauses_too(folder: Path) -> None:
    missing = "\n[program:missing]\ncommand=/no/such/program\nstartretries=100\n"
    with supervisord(folder, programs=0, more=missing) as running:

        def spawn_errors() -> int:
            return running.log().count("spawnerr: ")

        wait_until("the first two at once", lambda: spawn_errors() >= 2, timeout_s=0.9)
        started = now()
        wait_until("a third", lambda: spawn_errors() >= 3)
        assert 0.5 < now() - started < 1.6


def test_loaded_twice_it_is_there_once(folder: Path) -> None:
    """supervisord calls the factory for each of its HTTP servers, too."""
    with free_ports() as ports:
        second = PLUGIN.replace("wakeup]", "again]")
        server = f"\n[inet_http_server]\nport=127.0.0.1:{ports[-1]}\n"
        with supervisord(folder, plugins=PLUGIN + second, more=server) as running:
            running.wait_accepting()
            running.wait_running()
            pipes = [
                os.readlink(f"/proc/{running.child.pid}/fd/{fd}")  # noqa: PTH115
                for fd in os.listdir(f"/proc/{running.child.pid}/fd")  # noqa: PTH208
            ]
            found = [pipe for pipe in pipes if pipe.startswith("pipe:")]
            assert sum(found.count(pipe) == 2 for pipe in set(found)) == 1, "both ends of one"
            assert running.back_after_kill() < 0.6


def test_after_a_reload_it_works_as_before(folder: Path) -> None:
    """supervisord closes every descriptor above 4 then."""
    with supervisord(folder) as running:
        for count in range(1, 4):
            wait_until("it runs", partial(running.has_logged, "RUNNING state", count))
            assert running.back_after_kill() < 0.6
            running.child.send_signal(signal.SIGHUP)
            reloaded = partial(running.has_logged, "'wakeup' initialized", count + 1)
            wait_until("it has reloaded", reloaded)
        running.wait_accepting()
        before = running.wake_ups()
        pause(2)
        assert running.wake_ups() - before < 100  # it prints 20 lines a second


def test_a_child_has_the_limit_of_descriptors_and_none_of_its_supervisord(folder: Path) -> None:
    """With the plugin a child does not close every number below `minfds` any more."""
    passed = [os.open(folder, os.O_RDONLY) for _ in range(30)]
    limit = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    with supervisord(folder, 2, more=f"minfds={limit}\n", inherited=passed) as running:
        for descriptor in passed:
            os.close(descriptor)
        running.wait_accepting()
        running.back_after_kill()
        for pid in map(running.pid, range(2)):
            kinds = [
                str(fd.readlink()).partition(":")[0] for fd in Path(f"/proc/{pid}/fd").iterdir()
            ]
            assert sorted(kinds) == ["pipe", "pipe", "pipe", "socket"], "its own socket, and 0 to 2"
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] >= limit


def test_a_chatty_program_with_stdin_is_served_as_ever(folder: Path) -> None:
    with supervisord(folder) as running:
        running.wait_accepting()
        running.rpc.call("supervisor.sendProcessStdin", "p0", "words\n")
        running.wait_running()
        assert running.back_after_kill() < 0.6
        output = folder / "p0.log"
        wait_until("both starts are there", lambda: output.read_text().count("start\n") >= 2)
        before = len(output.read_text())
        wait_until("and more output", lambda: len(output.read_text()) > before + 50)
