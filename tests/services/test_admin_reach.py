"""In a real stack: who reaches the admin sockets, and who does not."""

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.http_probe import UnixConnection
from tests.services.admin_client import AdminSocket, sockets
from tests.support.http import Answer
from tests.support.stack import Stack, new_stack

pytestmark = pytest.mark.live

SETTINGS = ("services.api.instances=2", "services.web.instances=1")
INSTANCES = ("api-1", "api-2", "web-1")
PROCESSES = 4  # a web instance has two workers


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose last life was cut short in the middle of a drill."""
    with new_stack(tmp_path_factory.mktemp("reach") / "home", SETTINGS) as stack:
        stack.home.admin.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(stack.home.admin / "api-1.1.sock"))  # pid 1 is alive, and not ours
        stack.home.admin.joinpath("api-2.crash").touch()
        stack.bulkhead("up")
        yield stack


@pytest.fixture
def told(stack: Stack) -> Iterator[list[AdminSocket]]:
    """Every process, told something that does no harm and can be recognised."""
    found = sockets(stack.home.admin, PROCESSES)
    for one in found:
        one.tell(slow_share=0.625)
    yield found
    for one in found:
        one.clear()


def internal(stack: Stack, method: str, target: str, body: bytes) -> Answer:
    connection = UnixConnection(stack.home.internal_socket, 15)
    try:
        connection.request(method, target, body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def test_nothing_of_a_drill_outlives_the_stack(stack: Stack) -> None:
    live = {one.path.name for one in sockets(stack.home.admin, PROCESSES)}
    assert {name.split(".")[0] for name in live} == set(INSTANCES)
    assert "api-1.1.sock" not in live


def test_only_the_user_of_the_stack_can_connect(stack: Stack) -> None:
    assert stat.S_IMODE(stack.home.admin.stat().st_mode) == 0o700
    assert {one.mode for one in sockets(stack.home.admin, PROCESSES)} == {0o600}


def test_no_path_through_nginx_reaches_an_admin_socket(
    stack: Stack, told: list[AdminSocket]
) -> None:
    before = [one.state() for one in told]
    name = told[0].path.name
    paths = ["/faults", "/admin", "/admin/faults", f"/admin/{name}/faults", f"/run/admin/{name}"]
    tried = 0
    for target in paths:
        for prefix in ("", "/api", "/api/v1", "/static", "/static/..", "/%2e%2e"):
            for method, body in (("GET", b""), ("PUT", b'{"errors_share":1}'), ("DELETE", b"")):
                answer = stack.request(method, prefix + target, body=body)
                assert answer.status in (400, 404, 405), (method, prefix + target)
                assert b"slow_share" not in answer.body
                tried += 1
        for prefix in ("", *(f"/{one}" for one in INSTANCES)):
            for method, body in (("GET", b""), ("PUT", b'{"errors_share":1}'), ("DELETE", b"")):
                answer = internal(stack, method, prefix + target, body)
                assert answer.status in (400, 404, 405), (method, prefix + target)
                assert b"slow_share" not in answer.body
                tried += 1
    assert tried == len(paths) * 10 * 3
    assert [one.state() for one in told] == before
    assert {one["slow_share"] for one in before} == {0.625}


def test_the_fault_of_one_instance_is_passed_over_by_nginx(
    stack: Stack, told: list[AdminSocket]
) -> None:
    """Told by its socket, an instance does misbehave behind nginx; and a client sees none of it."""
    broken = next(one for one in told if one.path.name.startswith("api-1."))
    broken.tell(errors_share=1)
    answers = [stack.get("/api/v1/whoami") for _ in range(20)]
    assert {(one.status, one.instance) for one in answers} == {(200, "api-2")}
    assert '"injected_error"' in internal(stack, "GET", "/api-1/api/v1/whoami", b"").body.decode()


def test_a_stopped_stack_leaves_no_admin_socket(tmp_path: Path) -> None:
    with new_stack(tmp_path / "home", SETTINGS) as stack:
        stack.bulkhead("up")
        sockets(stack.home.admin, PROCESSES)
        stack.bulkhead("down")
        assert not stack.home.admin.exists()
