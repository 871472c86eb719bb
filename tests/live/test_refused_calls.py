"""A stack that may not take descriptors of other processes: nobody is refused all the same.

Docker's default filter and systemd's @system-service have no pidfd_getfd. Some filters say EPERM,
some ENOSYS, as a kernel before 5.6 does.
"""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bulkhead.proc import PIDFD_GETFD
from bulkhead.testing import wait_until
from tests.adopt.proxied import Clients
from tests.live.operating import assert_unharmed, changed, pids
from tests.support.stack import ECHO, Stack, new_stack
from tests.support.trickle import trickle

pytestmark = pytest.mark.live

SMALL = ("services.api.instances=2", "services.web.instances=2", "services.web.workers=1")


@pytest.fixture(scope="module", params=["EPERM", "ENOSYS"])
def stack(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Stack]:
    with new_stack(tmp_path_factory.mktemp("r") / "home", SMALL) as stack:
        stack.prefix = refusing(request.param)
        stack.bulkhead("up")
        yield stack


def refusing(error: str) -> list[str]:
    """What runs a command that may not take descriptors."""
    refused = f"{PIDFD_GETFD}={getattr(errno, error)}"
    return [sys.executable, "-m", "tests.support.refuse", refused, "--"]


def strangers(stack: Stack) -> Clients:
    """Clients that open a connection for each request: whoever is refused is a failure."""
    return Clients(lambda: HTTPConnection("127.0.0.1", stack.ports[0], timeout=10))


def test_an_upgrade_of_nginx_refuses_nobody(stack: Stack) -> None:
    before = pids(stack)
    with trickle(stack.url) as load, strangers(stack).running() as clients:
        stack.bulkhead("upgrade", "nginx")
    assert_unharmed(stack, load)
    assert clients.failures == []
    assert changed(before, pids(stack)) == {"nginx"}
    assert "one of the orphans has sent its 2 sockets" in log(stack)
    assert not stack.home.heir_socket.exists()


def test_a_killed_master_of_nginx_refuses_nobody(stack: Stack) -> None:
    """Three of them; the last one before the orphans of the one before have gone."""
    with trickle(stack.url) as load, strangers(stack).running() as clients:
        for _ in range(3):
            before = pids(stack)["nginx"]
            os.kill(before, signal.SIGKILL)
            wait_until("another leads", partial(other, stack, before), timeout_s=30)
            clients.wait_for(50)
        wait_until("the orphans have gone", lambda: not any(stack.home.orphans.iterdir()), 30)
    assert_unharmed(stack, load)
    assert clients.failures == []


def other(stack: Stack, old: int) -> bool:
    one = stack.status()["nginx"]
    return bool(one["ready"] and one["pid"] != old)


def test_a_killed_master_of_gunicorn_starts_when_its_workers_have_drained(stack: Stack) -> None:
    with trickle(stack.url) as load:
        before = pids(stack)["web-1"]
        os.kill(before, signal.SIGKILL)

        def back() -> bool:
            one = stack.status()["web-1"]
            return bool(one["ready"] and one["pid"] != before)

        wait_until("it is back", back, timeout_s=30)
    assert load.failures == []


def log(stack: Stack) -> str:
    return Path(stack.home.log / "nginx.log").read_text()


def test_what_would_refuse_clients_is_refused(tmp_path: Path) -> None:
    """Without Lua no worker can send its sockets, so no command kills a master."""
    with new_stack(tmp_path / "home", (*ECHO, "proxy.balancer=nginx")) as stack:
        stack.prefix = refusing("EPERM")
        said = stack.bulkhead("up").stdout
        stack.prefix = []  # the command by itself may; it is the stack that may not
        before = pids(stack)
        upgraded = stack.bulkhead("upgrade", "nginx", check=False)
        reloaded = stack.bulkhead("reload", "--set", "proxy.grace_s=11", check=False)
        assert pids(stack) == before
    assert "pidfd_getfd(2) is not permitted here: a killed nginx refuses connections" in said
    for done in (upgraded, reloaded):
        assert (done.returncode, done.stderr.count("\n")) == (5, 1)
        assert "`make restart` brings the new nginx, with a gap" in done.stderr
