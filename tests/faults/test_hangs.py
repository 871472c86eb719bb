"""hang, accept_queue and refuse: an instance that is there and of no use."""

import signal
import socket
from collections.abc import Callable

import psutil
import pytest

from bulkhead import proc
from bulkhead.faults.contract import FaultError, Site, make
from bulkhead.testing import wait_until
from bulkhead.topology.model import Instance
from tests.faults.looking import (
    BrokenError,
    are_stopped,
    ask,
    ended_by,
    have_ended,
    inject,
    instance,
    is_refused,
    is_silent,
    processes,
)

pytestmark = pytest.mark.live


def times_out(site: Site, name: str) -> bool:
    """Whether not even a connect is answered."""
    one = instance(site, name)
    try:
        socket.create_connection((one.host, one.port), timeout=0.5).close()
    except TimeoutError:
        return True
    return False


SEEN: dict[str, Callable[[Site, str], bool]] = {
    "hang": is_silent,
    "accept_queue": times_out,
    "refuse": is_refused,
}


@pytest.mark.parametrize("error", [None, BrokenError, KeyboardInterrupt])
@pytest.mark.parametrize("fault", SEEN)
def test_it_takes_hold_of_all_targets_and_is_healed(
    echo_site: Site, fault: str, error: type[BaseException] | None
) -> None:
    names = ("api-1", "web-1")
    files = psutil.Process().num_fds()
    with ended_by(error), inject(echo_site, fault, *names) as proof:
        assert proof
        assert all(SEEN[fault](echo_site, name) for name in names)
        assert ask(echo_site, "api-2").instance == "api-2"  # and nobody else
        if error:
            raise error
    for name in names:
        assert not any(are_stopped(echo_site, name))
        assert ask(echo_site, name).instance == name
    assert psutil.Process().num_fds() == files


@pytest.mark.parametrize("fault", ["kill", "hang", "accept_queue"])
def test_what_a_killed_driver_has_left_stopped_is_healed(echo_site: Site, fault: str) -> None:
    """Every injection begins with this (test_registry.py)."""
    processes(echo_site, "api-3")[0].suspend()
    wait_until("it is stopped", lambda: are_stopped(echo_site, "api-3") == [True])
    make(fault, {}).heal(echo_site, (instance(echo_site, "api-3"),))
    assert are_stopped(echo_site, "api-3") == [False]
    assert ask(echo_site, "api-3").instance == "api-3"


def test_an_instance_is_continued_when_the_run_ends_before_its_queue_is_full(
    echo_site: Site,
) -> None:
    fault = make("accept_queue", {})
    echo_site.ending.set()
    with pytest.raises(FaultError, match="was not confirmed before the run ended"):
        fault.injected(echo_site, (instance(echo_site, "api-4"),)).__enter__()
    assert are_stopped(echo_site, "api-4") == [False]
    assert ask(echo_site, "api-4").instance == "api-4"


def test_an_unknown_program_cannot_be_stopped(echo_site: Site) -> None:
    stranger = Instance("api-9", "api", "127.0.0.1", 1, 1)
    with pytest.raises(FaultError, match="supervisord has no program api-9"):
        make("refuse", {}).injected(echo_site, (stranger,)).__enter__()


def test_a_refusing_instance_that_is_dead_already_is_started_first(echo_site: Site) -> None:
    with inject(echo_site, "refuse", "api-4"), inject(echo_site, "refuse", "api-4"):
        assert is_refused(echo_site, "api-4")
    assert ask(echo_site, "api-4").instance == "api-4"


def test_all_processes_of_a_gunicorn_instance_hang(real_site: Site) -> None:
    assert len(processes(real_site, "web-1")) == 3
    with inject(real_site, "hang", "web-1") as proof:
        assert are_stopped(real_site, "web-1") == [True] * 3
        assert all(str(one.pid) in proof for one in processes(real_site, "web-1"))
        assert is_silent(real_site, "web-1")
    assert are_stopped(real_site, "web-1") == [False] * 3


def test_a_hung_instance_that_something_else_restarts_counts_as_healed(real_site: Site) -> None:
    """Whoever kills a hung master leaves stopped workers behind, which hold the port."""
    before = processes(real_site, "web-2")
    injected = inject(real_site, "hang", "web-2")
    with injected:
        master = proc.find(before[0].pid)
        assert master
        proc.send(master, signal.SIGKILL)
        before[0].wait(10)
    assert have_ended(before)
    assert injected.healed.startswith("answering: pid ")
    assert ask(real_site, "web-2", "/healthz").instance == "web-2"
