"""The admin socket of an API process: errors before any effect, restarts, refusals to start."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bulkhead.testing import wait_until
from services.common.fault_injection import listen
from services.common.identity import current
from tests.services.admin_client import AdminSocket, names, sockets
from tests.services.api.processes import Fleet

pytestmark = pytest.mark.live


@pytest.fixture
def admin(tmp_path: Path) -> Path:
    folder = tmp_path / "admin"
    folder.mkdir(mode=0o700)
    return folder


def test_an_injected_error_comes_before_any_effect(fleet: Fleet, admin: Path) -> None:
    api = fleet.start(admin_dir=str(admin))
    (told,) = sockets(admin, 1)
    told.tell(errors_share=1)
    failed = api.add(Idempotency_Key="k", X_Request_ID="the-failed-one")
    assert (failed.status, failed.json()["error_code"]) == (503, "injected_error")
    assert api.request("PUT", "/api/v1/entries/e", {"account": "a", "amount": 1}).status == 503
    assert fleet.sql("SELECT * FROM effects") == []
    told.clear()
    done = api.add(Idempotency_Key="k")
    assert (done.status, done.headers["Idempotent-Replayed"]) == (201, None)
    begin, end, *_ = fleet.rows(6)
    assert (begin["id"], begin["key"], begin["method"]) == ("the-failed-one", "k", "POST")
    assert (end["effect"], end["fault"]) == ("none", "errors")


def test_a_delayed_write_is_still_done(fleet: Fleet, admin: Path) -> None:
    api = fleet.start(admin_dir=str(admin))
    sockets(admin, 1)[0].tell(slow_ms=50)
    assert api.add().status == 201
    end = fleet.rows(2)[1]
    assert (end["effect"], end["fault"]) == ("applied", "slow")


def test_a_request_that_breaks_a_rule_is_refused_as_ever(fleet: Fleet, admin: Path) -> None:
    """The checks that come before a handler are not lost behind a delay."""
    api = fleet.start(admin_dir=str(admin))
    sockets(admin, 1)[0].tell(slow_ms=1)
    assert api.get("/api/v1/entries/not%20an%20id").status == 400
    assert api.get("/api/v1/nothing").status == 404
    assert api.request("DELETE", "/api/v1/whoami").status == 405
    assert api.request("POST", "/api/v1/entries", b"x" * 2**21).status == 413


def test_a_delayed_request_is_waited_for_at_a_stop(fleet: Fleet, admin: Path) -> None:
    api = fleet.start(admin_dir=str(admin))
    sockets(admin, 1)[0].tell(slow_ms=1000)
    with socket.create_connection(("127.0.0.1", api.port), timeout=15) as client:
        client.sendall(b"GET /api/v1/whoami HTTP/1.1\r\nHost: h\r\n\r\n")
        wait_until("it has begun", (fleet.folder / "service.jsonl").read_text)
        api.terminate()
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    assert api.wait() == 0


def test_a_restarted_process_is_healthy_and_clears_what_a_killed_one_left(
    fleet: Fleet, admin: Path
) -> None:
    first = fleet.start(admin_dir=str(admin))
    sockets(admin, 1)[0].tell(errors_share=1)
    first.kill()
    assert names(admin) == [f"api-1.{first.process.pid}.sock"], "SIGKILL leaves it"
    admin.joinpath("api-10.1.sock").touch()  # another instance's is not touched
    fleet.instances.clear()
    second = fleet.start(first.port, admin_dir=str(admin))
    assert names(admin) == [f"api-1.{second.process.pid}.sock", "api-10.1.sock"]
    assert second.get("/api/v1/whoami").status == 200


def test_a_socket_that_a_process_of_the_same_pid_left_is_replaced(admin: Path) -> None:
    for _ in range(2):
        with listen(str(admin), current()) as listening:
            path = Path(listening.getsockname())
            assert path.is_socket()
    assert path.is_socket(), "closed and not removed, as SIGKILL leaves it"


def test_without_a_folder_there_is_no_socket(fleet: Fleet, admin: Path) -> None:
    for api in (fleet.start(), fleet.start(admin_dir="")):
        assert api.get("/faults").status == 404
        assert named_sockets(api.process.pid) == set()
    api = fleet.start(admin_dir=str(admin))
    assert len(named_sockets(api.process.pid)) == 1, "the look would have found one"


def named_sockets(pid: int) -> set[str]:
    """The unix sockets of a process that others can reach by a name (proc(5), net/unix)."""
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    named = {f"socket:[{fields[6]}]" for line in lines if len(fields := line.split()) == 8}
    return named & {str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}


def crash(admin: Path) -> str:
    admin.joinpath("api-1.crash").touch()
    return f"{admin}/api-1.crash says that api-1 must not start; remove it"


def no_folder(admin: Path) -> str:
    admin.rmdir()
    return f"BULKHEAD_ADMIN_DIR = '{admin}': no such folder"


@pytest.mark.parametrize("prepare", [crash, no_folder])
def test_what_forbids_a_start_is_one_line_and_exit_1(
    fleet: Fleet, admin: Path, prepare: Callable[[Path], str]
) -> None:
    reason = prepare(admin)
    api = fleet.launch(admin_dir=str(admin))
    assert api.wait() == 1
    assert api.log.read_text() == f"services.api: {reason}\n"


def test_a_path_too_long_for_a_socket_is_one_line_and_exit_1(fleet: Fleet, admin: Path) -> None:
    deep = admin / ("x" * 100)
    deep.mkdir()
    api = fleet.launch(admin_dir=str(deep))
    assert api.wait() == 1
    assert api.log.read_text() == (
        f"services.api: cannot open an admin socket in {deep}: AF_UNIX path too long\n"
    )


def test_another_instances_crash_file_is_not_ours(fleet: Fleet, admin: Path) -> None:
    admin.joinpath("api-2.crash").touch()
    api = fleet.start(admin_dir=str(admin))
    assert AdminSocket(admin / f"api-1.{api.process.pid}.sock").state()["instance"] == "api-1"
