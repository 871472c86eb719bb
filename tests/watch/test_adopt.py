"""Stand-ins for leaders that outlived their supervisord, and heirs of masters that were killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bulkhead.control import process
from bulkhead.control.nginx import find_nginx
from bulkhead.control.process import Process
from bulkhead.control.unix import UnixConnection
from bulkhead.watch.kernel import group
from tests.support.ports import free_ports
from tests.support.waiting import wait_until
from tests.watch.launching import Child, Launcher, kill, launcher

pytestmark = pytest.mark.live

NOTES_SIGNALS = [sys.executable, "-m", "tests.watch.notes_signals"]


@pytest.fixture
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    # A short name: the path of a unix socket is limited.
    with launcher(tmp_path_factory.mktemp("a") / "home") as made:
        yield made


# ---- a leader that lives ---------------------------------------------------------------------


def adopted(launch: Launcher, *words: str) -> tuple[Child, Child]:
    """A program that runs, and its stand-in."""
    command = [*NOTES_SIGNALS, *words]
    launch.know("api-1", "tornado", grace_s=0.5)
    leader = launch.launch("api-1", command)
    wait_until("it runs", lambda: "ready" in launch.printed("api-1"))
    stand_in = launch.launch("api-1", command)
    said = f"api-1: pid {leader.pid} goes on; this is its stand-in"
    wait_until("it has a stand-in", lambda: said in launch.printed("api-1"))
    assert launch.leader("api-1") == process.find(leader.pid)
    return leader, stand_in


def test_a_stand_in_passes_signals_on_and_ends_with_the_leader(launch: Launcher) -> None:
    leader, stand_in = adopted(launch)
    for name in ("SIGHUP", "SIGUSR1", "SIGUSR2"):
        stand_in.send_signal(signal.Signals[name])

        def has_come(name: str = name) -> bool:
            return name in launch.printed("api-1")

        wait_until(f"{name} has come through", has_come)
    assert stand_in.poll() is None
    stand_in.send_signal(signal.SIGTERM)
    assert (leader.wait(10), stand_in.wait(10)) == (0, 0)
    assert launch.printed("api-1").count("ready") == 1, "nothing has run twice"


def test_a_death_that_nobody_asked_for_is_a_failure(launch: Launcher) -> None:
    leader, stand_in = adopted(launch)
    kill(leader)
    assert stand_in.wait(10) == 1


def test_a_leader_that_does_not_end_is_killed_with_its_group(launch: Launcher) -> None:
    """supervisord's own SIGKILL would end the stand-in alone, and the program would live on."""
    leader, stand_in = adopted(launch, "stubborn")
    members = group(leader.pid)
    assert len(members) == 2
    stand_in.send_signal(signal.SIGTERM)
    assert leader.wait(10) == -signal.SIGKILL
    assert stand_in.wait(10) == 0
    wait_until("all of it has ended", lambda: not group(leader.pid))
    assert launch.printed("api-1").count("SIGTERM") == 1


def test_a_killed_stand_in_leaves_the_program_to_the_next(launch: Launcher) -> None:
    leader, stand_in = adopted(launch)
    kill(stand_in)
    launch.launch("api-1", NOTES_SIGNALS)
    said = "this is its stand-in"
    wait_until("another stand-in", lambda: launch.printed("api-1").count(said) == 2)
    assert leader.poll() is None


def test_a_stand_in_is_small(launch: Launcher) -> None:
    _, stand_in = adopted(launch)
    found = process.find(stand_in.pid)
    assert found
    assert process.resident_mb(found) < 12


# ---- a leader that was killed, and whose workers live on -------------------------------------


class Clients:
    """Threads that open a connection for each request; `answers` and `failures` are what came."""

    def __init__(self, connect: Callable[[], HTTPConnection]) -> None:
        self.answers: list[str] = []
        self.failures: list[str] = []
        self._connect = connect
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    @contextmanager
    def running(self) -> Iterator["Clients"]:
        for one in self._threads:
            one.start()
        try:
            yield self
        finally:
            self._over.set()
            for one in self._threads:
                one.join()

    def wait_for(self, more: int) -> None:
        """Wait until so many more answers have come."""
        wanted = len(self.answers) + more
        wait_until("more answers", lambda: len(self.answers) >= wanted)

    def wait_for_one_of(self, pids: set[str]) -> None:
        """Wait until one of these processes answers."""
        wait_until(f"an answer of {pids}", lambda: pids & set(self.answers[-20:]))

    def _run(self) -> None:
        while not self._over.is_set():
            connection = self._connect()
            try:
                connection.request("GET", "/", headers={"Connection": "close"})
                self.answers.append(connection.getresponse().read().decode())
            except OSError as error:
                self.failures.append(repr(error))
            finally:
                connection.close()


NGINX_CONF = """
daemon off;
worker_processes 2;
worker_shutdown_timeout 5s;
pid {run}/nginx.pid;
error_log {log}/nginx.error.log warn;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi; uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port};
        listen unix:{run}/internal.sock;
        location / {{ return 200 $pid; }}
    }}
}}
"""


class Proxy:
    """An nginx with a public and an internal listener."""

    def __init__(self, launch: Launcher, port: int) -> None:
        self.home = launch.home
        self.port = port
        self._launch = launch
        self.conf = self.home.etc / "nginx.conf"
        self.conf.write_text(
            NGINX_CONF.format(run=self.home.run, log=self.home.log, home=self.home.path, port=port)
        )
        launch.know("nginx", "nginx")
        self.child = self.start()

    def start(self) -> Child:
        """Launch a master; the one that was launched before is dead or is to be adopted."""
        program = find_nginx("nginx", os.environ["PATH"])
        command: list[str | Path] = [program, "-p", self.home.path, "-c", self.conf]
        self.child = self._launch.launch("nginx", command)
        found = self._launch.wait_led("nginx", self.child)
        wait_until("it has workers", lambda: len(process.children(found.pid)) == 2)
        return self.child

    def pids(self) -> set[str]:
        """Its workers."""
        return {str(one.pid) for one in process.children(self.child.pid)}

    def public(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=10)

    def internal(self) -> HTTPConnection:
        return UnixConnection(self.home.internal_socket, 10)

    def complaints(self) -> list[str]:
        """What nginx must never have to say."""
        log = (self.home.log / "nginx.error.log").read_text()
        said = log + self._launch.printed("nginx")
        return [line for line in said.splitlines() if re.search(r"\[(emerg|alert|crit)\]", line)]


@pytest.fixture
def proxy(launch: Launcher) -> Iterator[Proxy]:
    with free_ports() as ports:
        yield Proxy(launch, ports[0])


def test_a_new_nginx_master_inherits_both_listeners(launch: Launcher, proxy: Proxy) -> None:
    launch.know("watch", "watch")
    first, old = proxy.child, proxy.pids()
    socket_file = proxy.home.internal_socket.stat().st_ino
    with Clients(proxy.public).running() as public, Clients(proxy.internal).running() as internal:
        for clients in (public, internal):
            clients.wait_for(50)
        kill(first)
        for clients in (public, internal):
            clients.wait_for(50)  # the survivors serve
        proxy.start()
        new = proxy.pids()
        for clients in (public, internal):
            clients.wait_for_one_of(new)
        assert (proxy.home.strays / str(first.pid)).read_text() == "nginx\n"
        assert {str(one.pid) for one in group(first.pid)} == old, (
            "it is the watchdog that ends them"
        )
        for survivor in group(first.pid):
            process.send(survivor, signal.SIGQUIT)
        wait_until("the survivors have ended", lambda: not group(first.pid))
        for clients in (public, internal):
            clients.wait_for(50)
    assert public.failures == internal.failures == []
    assert {*public.answers[-20:], *internal.answers[-20:]} <= new
    assert proxy.home.internal_socket.stat().st_ino == socket_file
    assert proxy.complaints() == []
    assert (proxy.home.run / "nginx.pid").read_text() == f"{proxy.child.pid}\n"


def test_an_heir_reloads_and_stops_like_any_master(proxy: Proxy) -> None:
    kill(proxy.child)
    proxy.start()
    before = proxy.pids()
    proxy.child.send_signal(signal.SIGHUP)
    wait_until("other workers", lambda: proxy.pids() and not proxy.pids() & before)
    for connect in (proxy.public, proxy.internal):
        with Clients(connect).running() as clients:
            clients.wait_for(20)
        assert clients.failures == []
    proxy.child.send_signal(signal.SIGQUIT)
    assert proxy.child.wait(10) == 0
    assert proxy.complaints() == []
    # Where an inherited socket was bound nginx does not know, so its file stays: for the launcher.
    again = proxy.start()
    assert again.poll() is None
    with Clients(proxy.internal).running() as clients:
        clients.wait_for(20)
    assert clients.failures == []


def test_without_a_watchdog_the_survivors_are_told_to_end_at_once(
    launch: Launcher, proxy: Proxy
) -> None:
    first = proxy.child
    with Clients(proxy.public).running() as clients:
        clients.wait_for(20)
        kill(first)
        proxy.start()
        wait_until("the survivors have ended", lambda: not group(first.pid))
        clients.wait_for(20)
    assert clients.failures == []
    assert list(launch.home.strays.iterdir()) == []


def test_an_heir_that_is_killed_too_has_an_heir(launch: Launcher, proxy: Proxy) -> None:
    """Its own workers die with it here, so the sockets are those of the first master's workers."""
    launch.know("watch", "watch")
    first = proxy.child
    kill(first)
    second = proxy.start()
    with Clients(proxy.public).running() as clients:
        clients.wait_for(20)
        survivors = group(second.pid)
        os.kill(second.pid, signal.SIGSTOP)  # or it would replace its workers
        for one in survivors:
            process.send(one, signal.SIGKILL)
        second.wait(10)
        new = proxy.start()
        clients.wait_for(20)
        clients.wait_for_one_of(proxy.pids())
    refused = [one for one in clients.failures if "Refused" in one]
    assert refused == []
    assert new.poll() is None
    assert [path.name for path in launch.home.strays.iterdir()] == [str(first.pid)]


def test_where_sockets_cannot_be_taken_the_survivors_end_first(
    launch: Launcher, proxy: Proxy
) -> None:
    launch.know("watch", "watch")
    first = proxy.child
    kill(first)
    script = (
        "import sys; from bulkhead.watch import inherit\n"
        "def take(_): raise PermissionError(1, 'Operation not permitted')\n"
        "inherit.take = take\n"
        "inherit.become(sys.argv[1], 'nginx', sys.argv[3:], int(sys.argv[2]))\n"
    )
    program = find_nginx("nginx", os.environ["PATH"])
    command: list[str | Path] = [sys.executable, "-c", script, launch.home.run, str(first.pid)]
    command += [program, "-p", proxy.home.path, "-c", proxy.conf]
    heir = launch.launch("heir", command)
    launch.wait_led("nginx", heir)
    proxy.child = heir
    wait_until("it serves", lambda: len(proxy.pids()) == 2)
    assert group(first.pid) == []
    with Clients(proxy.public).running() as public, Clients(proxy.internal).running() as internal:
        public.wait_for(20)
        internal.wait_for(20)
    assert public.failures == internal.failures == []
    assert proxy.complaints() == []


APP = """
import os
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Connection", "close")])
    return [str(os.getpid()).encode()]
"""
WORKER = """
from gunicorn.workers.gthread import ThreadWorker
class Patient(ThreadWorker):
    def is_parent_alive(self):
        return True
"""


def test_a_new_gunicorn_master_inherits_the_listener(launch: Launcher) -> None:
    """From workers that serve on until they are told to end; not every kind of worker does."""
    (launch.home.path / "app.py").write_text(APP)
    (launch.home.path / "worker.py").write_text(WORKER)
    with free_ports() as ports:
        address = f"127.0.0.1:{ports[0]}"
        launch.know("web-1", "gunicorn", address)
        launch.know("watch", "watch")
        command: list[str | Path] = [
            sys.executable, "-m", "gunicorn", "-k", "worker.Patient", "--workers", "2",
            "--chdir", launch.home.path, "--bind", address, "app:app",
        ]  # fmt: skip
        first = launch.launch("web-1", command)
        old = wait_until("its workers", lambda: workers_of(first, 2))
        clients = Clients(lambda: HTTPConnection(address, timeout=10))
        wait_until("it listens", lambda: "Listening at" in launch.printed("web-1"))
        with clients.running():
            clients.wait_for(20)
            kill(first)
            second = launch.launch("web-1", command)
            launch.wait_led("web-1", second)
            new = wait_until("its workers", lambda: workers_of(second, 2))
            clients.wait_for_one_of(new)
            assert (launch.home.strays / str(first.pid)).read_text() == "web-1\n"
            assert {str(one.pid) for one in group(first.pid)} == old
        assert clients.failures == []
    assert f"Listening at: http://{address} ({second.pid})" in launch.printed("web-1")


def workers_of(child: Child, count: int) -> set[str]:
    found = {str(one.pid) for one in process.children(child.pid)}
    return found if len(found) == count else set()


def test_a_stranger_with_the_number_of_a_dead_group_is_left_alone(launch: Launcher) -> None:
    """Its leader lives, and started at another time than the one that was noted."""
    launch.know("api-1", "tornado")
    with subprocess.Popen(["/bin/sleep", "60"], process_group=0) as stranger:
        try:
            (launch.home.programs / "api-1").write_text(f"{stranger.pid} 1\n")
            (launch.home.strays / str(stranger.pid)).write_text("api-1\n")
            child = launch.launch("api-1", ["/bin/sleep", "60"])
            launch.wait_led("api-1", child)
            assert stranger.poll() is None
            assert list(launch.home.strays.iterdir()) == []
        finally:
            stranger.kill()


def test_what_listens_is_told_apart_from_what_is_connected() -> None:
    from bulkhead.watch.sockets import address, take

    script = (
        "import signal, socket\n"
        "one, two = (socket.create_server(('127.0.0.1', 0)) for _ in range(2))\n"
        "client = socket.create_connection(one.getsockname()); served, _ = one.accept()\n"
        "again = one.dup(); plain = socket.socketpair(); datagrams = socket.socket(type=2)\n"
        "print(one.getsockname()[1], two.getsockname()[1], flush=True); signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout
            ports = child.stdout.readline().decode().split()
            found = process.find(child.pid)
            assert found
            taken = take([found, found, Process(found.pid, found.start_ticks + 1)])
            assert sorted(map(address, taken)) == sorted(f"127.0.0.1:{port}" for port in ports)
            kill(child)
            for one in taken:  # each still listens, though its first owner is dead
                socket.create_connection(one.getsockname(), timeout=5).close()
                one.close()
        finally:
            child.kill()
