"""kill and term: the process is gone, and supervisord brings another."""

import signal
import threading

import pytest

from bulkhead.faults import supervision
from bulkhead.faults.contract import FaultError, Site, known, make
from bulkhead.testing import wait_until
from tests.faults.looking import (
    ENDS,
    BrokenError,
    are_stopped,
    ask,
    ended_by,
    have_ended,
    inject,
    instance,
    is_refused,
    processes,
)
from tests.support.stack import Stack

pytestmark = pytest.mark.live

# A death soon after a start makes supervisord pause: each case has an instance of its own.
OWN: dict[tuple[str, type[BaseException] | None], str] = {
    ("kill", None): "api-1",
    ("kill", BrokenError): "api-2",
    ("kill", KeyboardInterrupt): "api-3",
    ("term", None): "api-4",
    ("term", BrokenError): "web-1",
    ("term", KeyboardInterrupt): "web-2",
}


@ENDS
@pytest.mark.parametrize(("fault", "number"), [("kill", signal.SIGKILL), ("term", signal.SIGTERM)])
def test_the_process_dies_of_the_signal_and_another_serves(
    echo: Stack, echo_site: Site, fault: str, number: int, error: type[BaseException] | None
) -> None:
    name = OWN[fault, error]
    boot, before = ask(echo_site, name).headers["X-Boot"], processes(echo_site, name)
    log = echo.home.supervisord_log
    seen = log.stat().st_size
    with ended_by(error), inject(echo_site, fault, name):
        assert have_ended(before)
        if error:
            raise error
    assert ask(echo_site, name).headers["X-Boot"] != boot
    assert f"exited: {name} (terminated by {signal.Signals(number).name};" in log.read_text()[seen:]


def test_several_die_together(echo_site: Site) -> None:
    names = [one.name for one in echo_site.topology.instances()]
    before = {name: ask(echo_site, name).headers["X-Boot"] for name in names}
    victims = [one for name in names for one in processes(echo_site, name)]
    injected = inject(echo_site, "kill", *names)
    with injected as proof:
        assert proof == f"ended: pid {', '.join(str(one.pid) for one in victims)}"
        assert have_ended(victims)
    now = [str(one.pid) for name in names for one in processes(echo_site, name)]
    assert injected.healed == f"accepting: pid {', '.join(now)}"
    assert not [name for name in names if ask(echo_site, name).headers["X-Boot"] == before[name]]


def test_a_frozen_process_is_continued_when_ctrl_c_comes_before_the_kill(echo_site: Site) -> None:
    name, main = "api-2", threading.main_thread().ident
    assert main
    before = processes(echo_site, name)

    def interrupt() -> None:
        wait_until("it is frozen", lambda: all(are_stopped(echo_site, name)))
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        inject(echo_site, "kill", name, freeze_s=10.0).__enter__()
    thread.join(10)
    assert processes(echo_site, name) == before
    assert not any(are_stopped(echo_site, name))
    assert ask(echo_site, name).instance == name


def test_a_frozen_process_dies_with_requests_in_hand(echo_site: Site) -> None:
    said: list[str] = []

    def client() -> None:
        wait_until("it is frozen", lambda: all(are_stopped(echo_site, "api-3")))
        try:
            said.append(f"answered {ask(echo_site, 'api-3').status}")
        except ConnectionError as error:
            said.append(type(error).__name__)

    thread = threading.Thread(target=client, daemon=True)
    thread.start()
    with inject(echo_site, "kill", "api-3", freeze_s=2.0):
        thread.join(10)
    assert said in (["ConnectionResetError"], ["RemoteDisconnected"])


FOR_INSTANCES = sorted(name for name, kind in known().items() if kind.on == "instances")
PARAMS: dict[str, dict[str, object]] = {
    "slow": {"slow_ms": 10.0},
    "busy": {"busy_s": 1.0},
    "busy_worker": {"busy_s": 1.0},
    "memory": {"memory_mb": 16},
    "scale": {"more_instances": 1},
}


def test_the_dead_cannot_be_faulted_and_nothing_is_left_behind(
    echo: Stack, echo_site: Site
) -> None:
    """But `refuse` would start it first, and `noop` does nothing to anybody."""
    dead = (instance(echo_site, "web-2"),)
    supervision.stop(echo_site, dead)
    try:
        for name in sorted({*FOR_INSTANCES} - {"noop", "refuse"}):
            injected = make(name, PARAMS.get(name, {})).injected(echo_site, dead)
            with pytest.raises(FaultError, match="no live process: web-2"):
                injected.__enter__()
            assert processes(echo_site, "web-2") == []
            assert is_refused(echo_site, "web-2")
            assert list(echo.home.admin.iterdir()) == []
    finally:
        supervision.start(echo_site, dead)
