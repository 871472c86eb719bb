"""slow, errors, busy, memory and crash_at_boot: what the real services are told to do wrong."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from bulkhead.clock import now
from bulkhead.faults import supervision
from bulkhead.faults.contract import FaultError, Site, known, make
from bulkhead.records import ServiceRow
from bulkhead.testing import wait_until
from tests.faults.conftest import UNWATCHED
from tests.faults.looking import (
    ENDS,
    BrokenError,
    ask,
    ended_by,
    have_ended,
    inject,
    instance,
    is_refused,
    is_silent,
    processes,
    site_of,
)
from tests.support.rows import rows_so_far
from tests.support.stack import Stack

pytestmark = pytest.mark.live

BOTH = ("api-1", "web-1")
PATHS = {"api": "/api/v1/whoami", "web": "/about"}
# A death soon after a start makes supervisord pause: each way to end has instances of its own.
OWN: dict[type[BaseException] | None, tuple[str, ...]] = {
    None: ("api-2", "web-2"),
    BrokenError: ("api-3",),
    KeyboardInterrupt: ("api-4", "web-1"),
}
SLOW_MS, MEMORY_MB = 300, 200
BY_ITSELF = "; supervisord started them by itself"
WHEN_TOLD = "; supervisord started them when told to (startProcess)"


def target(name: str) -> str:
    return PATHS[name.partition("-")[0]]


def is_slow(site: Site, name: str) -> bool:
    """Whether a request took as long as it was told to; nothing is said of how fast others are."""
    began = now()
    return fault_of_a_request(site, name) == "slow" and now() - began >= SLOW_MS / 1000


def fails(site: Site, name: str) -> bool:
    answer = ask(site, name, target(name))
    return answer.status == 500 and answer.instance == name


def is_big(site: Site, name: str) -> bool:
    """Whether each serving process is; gunicorn's master does not serve."""
    return all(one.memory_info().rss / 2**20 > MEMORY_MB for one in processes(site, name)[-2:])


def assert_well(site: Site, name: str) -> None:
    assert fault_of_a_request(site, name) == ""
    assert not is_big(site, name)


def fault_of_a_request(site: Site, name: str) -> str:
    """What the service itself writes down of a request that it answers with 200."""
    answer = ask(site, name, target(name))
    assert (answer.status, answer.instance) == (200, name)
    row = wait_until("its end row", partial(end_row, site, answer.headers["X-Request-ID"]))
    return row.fault


def end_row(site: Site, request_id: str) -> ServiceRow | None:
    """What the service has written down at the end of a request; it does so after the answer."""
    rows = rows_so_far(site.home.service_rows, ServiceRow)
    return next((one for one in rows if one.id == request_id and one.kind == "end"), None)


CASES: dict[str, tuple[dict[str, float], Callable[[Site, str], bool]]] = {
    "slow": ({"slow_ms": SLOW_MS}, is_slow),
    "errors": ({"status": 500}, fails),
    "busy": ({"busy_s": 4.0}, is_silent),
    "memory": ({"memory_mb": MEMORY_MB}, is_big),
}


@ENDS
@pytest.mark.parametrize("fault", CASES)
def test_it_takes_hold_and_is_healed(
    real_site: Site, fault: str, error: type[BaseException] | None
) -> None:
    params, seen = CASES[fault]
    with ended_by(error), inject(real_site, fault, *BOTH, **params) as proof:
        assert proof
        with ThreadPoolExecutor() as looks:  # at once: busy does not last
            assert list(looks.map(partial(seen, real_site), BOTH)) == [True, True]
        assert_well(real_site, "api-2")  # and nobody else
        if error:
            raise error
    for name in BOTH:
        assert_well(real_site, name)


def test_every_worker_of_gunicorn_is_told(real_site: Site) -> None:
    """Two share a port: many requests meet both."""
    workers = {str(one.pid) for one in processes(real_site, "web-1")[1:]}
    assert len(workers) == 2
    with inject(real_site, "errors", "web-1"):
        answers = [ask(real_site, "web-1", target("web-1")) for _ in range(50)]
    assert {one.status for one in answers} == {503}
    assert {one.headers["X-Boot"].partition(".")[0] for one in answers} == workers


def test_a_share_of_the_requests_is_hit(real_site: Site) -> None:
    with inject(real_site, "errors", "api-2", share=0.5):
        statuses = [ask(real_site, "api-2", target("api-2")).status for _ in range(60)]
    assert set(statuses) == {200, 503}


def test_an_instance_that_is_restarted_meanwhile_counts_as_healed(real_site: Site) -> None:
    with inject(real_site, "memory", "api-3", memory_mb=64), inject(real_site, "kill", "api-3"):
        pass
    assert ask(real_site, "api-3", target("api-3")).status == 200


def test_what_a_service_refuses_takes_no_hold(real_site: Site) -> None:
    """A fault that asks for more than the service allows: it was made without its own checks."""
    fault = replace(known()["slow"], params={"slow_ms": 1e9, "share": 1.0})
    with pytest.raises(FaultError, match=r"api-1\.\d+\.sock: PUT: 400: .*slow_ms"):
        inject(real_site, fault, "api-1").__enter__()
    assert_well(real_site, "api-1")


def test_without_admin_sockets_it_says_so(down_stack: Stack) -> None:
    down_stack.settings.extend((*UNWATCHED, "stack.admin=false"))
    down_stack.bulkhead("up")
    site = site_of(down_stack)
    reason = "the services have no admin sockets: stack.admin is false"
    for name, params in {
        "crash_at_boot": {},
        **{key: one for key, (one, _) in CASES.items()},
    }.items():
        fault = make(name, params)
        assert fault.available(site) == reason
        with pytest.raises(FaultError, match=reason):
            inject(site, fault, "api-1").__enter__()
    assert make("kill", {}).available(site) == ""


@ENDS
def test_an_instance_that_crashes_at_boot_stays_away(
    real: Stack, real_site: Site, error: type[BaseException] | None
) -> None:
    names = OWN[error]
    before = {name: processes(real_site, name)[0] for name in names}
    injected = inject(real_site, "crash_at_boot", *names)
    with ended_by(error), injected:
        for name in names:
            assert is_refused(real_site, name)
            assert have_ended([before[name]])
            assert "must not start" in (real.home.log / f"{name}.log").read_text()
        if error:
            raise error
    assert list(real.home.admin.glob("*.crash")) == []
    for name in names:
        wait_until("it answers", partial(real_site.answers, instance(real_site, name)))
    # Which of the two: on a busy machine supervisord's pause and a boot take longer than is waited.
    assert error or injected.healed.endswith((BY_ITSELF, WHEN_TOLD))


def test_what_supervisord_has_given_up_is_started_by_a_call(real_site: Site) -> None:
    injected = inject(real_site, "crash_at_boot", "api-1")
    with injected:
        one = (instance(real_site, "api-1"),)
        supervision.stop(real_site, one)  # as after FATAL: it will not try again by itself
        assert is_refused(real_site, "api-1")
    assert injected.healed.endswith(WHEN_TOLD)
    assert ask(real_site, "api-1", target("api-1")).status == 200


def test_a_drained_process_has_ended_well(real: Stack, real_site: Site) -> None:
    """SIGTERM: supervisord sees exit status 0, and gunicorn's workers go with their master."""
    names = ("api-4", "web-1")
    before = [one for name in names for one in processes(real_site, name)]
    seen = real.home.supervisord_log.stat().st_size
    with inject(real_site, "term", *names):
        assert have_ended(before)
    told = real.home.supervisord_log.read_text()[seen:]
    assert [f"exited: {name} (exit status 0; expected)" in told for name in names] == [True, True]
