"""Heirs of masters that were killed: they get the listening sockets of the workers that live on."""

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.proc import PIDFD_GETFD, Process, group
from bulkhead.testing import free_ports, wait_until
from tests.adopt.launching import Child, Launcher, kill, launcher
from tests.adopt.proxied import Clients, Proxy

pytestmark = pytest.mark.live


@pytest.fixture
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    # A short name: the path of a unix socket is limited.
    with launcher(tmp_path_factory.mktemp("a") / "home") as made:
        yield made


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
            clients.wait_for(50)  # the orphans serve
        proxy.start()
        new = proxy.pids()
        for clients in (public, internal):
            clients.wait_for_one_of(new)
        assert (proxy.home.orphans / str(first.pid)).read_text() == "nginx\n"
        assert {str(one.pid) for one in group(first.pid)} == old, (
            "it is the watchdog that ends them"
        )
        for orphan in group(first.pid):
            proc.send(orphan, signal.SIGQUIT)
        wait_until("the orphans have ended", lambda: not group(first.pid))
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


def test_without_a_watchdog_the_orphans_are_told_to_end_at_once(
    launch: Launcher, proxy: Proxy
) -> None:
    first = proxy.child
    with Clients(proxy.public).running() as clients:
        clients.wait_for(20)
        kill(first)
        proxy.start()
        wait_until("the orphans have ended", lambda: not group(first.pid))
        clients.wait_for(20)
    assert clients.failures == []
    assert list(launch.home.orphans.iterdir()) == []


def test_an_heir_that_is_killed_too_has_an_heir(launch: Launcher, proxy: Proxy) -> None:
    """Its own workers die with it here, so the sockets are those of the first master's workers."""
    launch.know("watch", "watch")
    first = proxy.child
    kill(first)
    second = proxy.start()
    with Clients(proxy.public).running() as clients:
        clients.wait_for(20)
        orphans = group(second.pid)
        os.kill(second.pid, signal.SIGSTOP)  # or it would replace its workers
        for one in orphans:
            proc.send(one, signal.SIGKILL)
        second.wait(10)
        new = proxy.start()
        clients.wait_for(20)
        clients.wait_for_one_of(proxy.pids())
    refused = [one for one in clients.failures if "Refused" in one]
    assert refused == []
    assert new.poll() is None
    assert [path.name for path in launch.home.orphans.iterdir()] == [str(first.pid)]


def test_where_sockets_cannot_be_had_the_orphans_end_first(launch: Launcher, proxy: Proxy) -> None:
    """Nobody may take them, and this nginx has no Lua to send them."""
    launch.know("watch", "watch")
    first = proxy.child
    kill(first)
    refused = f"{PIDFD_GETFD}={errno.EPERM}"
    launch.prefix = [sys.executable, "-m", "tests.support.refuse", refused, "--"]
    proxy.start()
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
            assert (launch.home.orphans / str(first.pid)).read_text() == "web-1\n"
            assert {str(one.pid) for one in group(first.pid)} == old
        assert clients.failures == []
    assert f"Listening at: http://{address} ({second.pid})" in launch.printed("web-1")


def workers_of(child: Child, count: int) -> set[str]:
    found = {str(one.pid) for one in proc.children(child.pid)}
    return found if len(found) == count else set()


def test_a_stranger_with_the_number_of_a_dead_group_is_left_alone(launch: Launcher) -> None:
    """Its leader lives, and started at another time than the one that was noted."""
    launch.know("api-1", "tornado")
    with subprocess.Popen(["/bin/sleep", "60"], process_group=0) as stranger:
        try:
            (launch.home.programs / "api-1").write_text(f"{stranger.pid} 1\n")
            (launch.home.orphans / str(stranger.pid)).write_text("api-1\n")
            child = launch.launch("api-1", ["/bin/sleep", "60"])
            launch.wait_led("api-1", child)
            assert stranger.poll() is None
            assert list(launch.home.orphans.iterdir()) == []
        finally:
            stranger.kill()


def test_what_listens_is_told_apart_from_what_is_connected() -> None:
    from bulkhead.adopt.successor import address, take

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
            found = proc.find(child.pid)
            assert found
            taken = take([found, found, Process(found.pid, found.start_ticks + 1)])
            assert sorted(map(address, taken)) == sorted(f"127.0.0.1:{port}" for port in ports)
            kill(child)
            for one in taken:  # each still listens, though its first owner is dead
                socket.create_connection(one.getsockname(), timeout=5).close()
                one.close()
        finally:
            child.kill()
