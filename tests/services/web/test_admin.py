"""The admin sockets of a gunicorn instance: one for each worker, apart from the load."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from bulkhead.testing import wait_until
from tests.services.admin_client import AdminSocket, names, sockets
from tests.services.web.browser import Browser, program
from tests.services.web.conftest import StartWeb
from tests.services.web.ledger_stub import LedgerStub
from tests.services.web.processes import CONF, GUNICORN, ROOT, WebInstance, accepts

pytestmark = pytest.mark.live


@pytest.fixture
def admin(tmp_path: Path) -> Path:
    folder = tmp_path / "admin"
    folder.mkdir(mode=0o700)
    return folder


def both(web: WebInstance, admin: Path) -> tuple[AdminSocket, AdminSocket]:
    first, second = sockets(admin, 2)
    assert {first.pid, second.pid} == set(web.workers())
    return first, second


def test_each_worker_is_told_by_itself(start_web: StartWeb, admin: Path) -> None:
    web = start_web(BULKHEAD_ADMIN_DIR=str(admin), BULKHEAD_WORKERS="2")
    broken, healthy = both(web, admin)
    broken.tell(errors_share=1)
    assert healthy.state()["errors_share"] == 0
    seen: set[tuple[int, int]] = set()

    def both_answered() -> bool:
        answer = program(web.port).get("/whoami")
        seen.add((int(answer.headers["X-Boot"].partition(".")[0]), answer.status))
        return len(seen) == 2

    wait_until("both workers have answered", both_answered)
    assert seen == {(broken.pid, 503), (healthy.pid, 200)}


def test_a_busy_worker_leaves_the_others_free(start_web: StartWeb, admin: Path) -> None:
    web = start_web(BULKHEAD_ADMIN_DIR=str(admin), BULKHEAD_WORKERS="2")
    busy, free = both(web, admin)
    busy.tell(busy_s=3)
    assert free.state()["pid"] == free.pid
    assert program(web.port).get("/whoami").json()["pid"] == free.pid
    assert busy.state()["busy_s"] == 0, "answered when it was done"


def test_a_browser_gets_an_injected_error_as_a_page(
    start_web: StartWeb, ledger: LedgerStub, admin: Path
) -> None:
    web = start_web(BULKHEAD_ADMIN_DIR=str(admin), BULKHEAD_WORKERS="1")
    (told,) = sockets(admin, 1)
    visitor = Browser(web.port)
    form = visitor.get("/").form() | {"account": "a", "amount": "1", "memo": ""}
    asked = len(ledger.asked)
    told.tell(errors_share=1, errors_status=500)
    answer = visitor.post("/entries", form)
    assert answer.status == 500
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "injected_error" in answer.text
    assert len(ledger.asked) == asked, "nothing was done"
    told.clear()
    assert visitor.post("/entries", form).status == 303


def test_a_replaced_worker_is_healthy_and_has_a_socket_of_its_own(
    start_web: StartWeb, admin: Path
) -> None:
    web = start_web(BULKHEAD_ADMIN_DIR=str(admin), BULKHEAD_WORKERS="1")
    (first,) = sockets(admin, 1)
    first.tell(errors_share=1)
    web.kill_worker(first.pid, signal.SIGKILL)
    wait_until("a new worker's socket", lambda: first.path.name not in names(admin))
    (second,) = sockets(admin, 1)
    assert [second.pid] == web.workers()
    assert second.state()["errors_share"] == 0
    assert program(web.port).get("/whoami").status == 200


def test_a_worker_that_drains_leaves_no_socket(start_web: StartWeb, admin: Path) -> None:
    web = start_web(BULKHEAD_ADMIN_DIR=str(admin), BULKHEAD_WORKERS="1")
    (first,) = sockets(admin, 1)
    web.kill_worker(first.pid, signal.SIGTERM)
    wait_until("it has gone", lambda: first.path.name not in names(admin))
    (second,) = sockets(admin, 1)
    assert second.pid != first.pid


def test_orphans_of_a_killed_master_remove_their_sockets(start_web: StartWeb, admin: Path) -> None:
    web = start_web(BULKHEAD_ADMIN_DIR=str(admin), BULKHEAD_WORKERS="2")
    both(web, admin)
    web.send(signal.SIGKILL)
    web.wait()
    wait_until("no socket is left", lambda: names(admin) == [])


def test_without_a_folder_there_is_no_socket(start_web: StartWeb, tmp_path: Path) -> None:
    web = start_web(BULKHEAD_WORKERS="1")
    assert program(web.port).get("/faults").status == 404
    assert [path for path in tmp_path.rglob("*") if path.is_socket()] == []


def test_a_crash_file_keeps_the_master_from_starting(
    admin: Path, tmp_path: Path, ports: list[int]
) -> None:
    admin.joinpath("web-1.crash").touch()
    port = ports[0]
    done = subprocess.run(
        [GUNICORN, "-c", CONF, "services.web.wsgi:app"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "BULKHEAD_INSTANCE": "web-1",
            "BULKHEAD_ADDRESS": f"127.0.0.1:{port}",
            "BULKHEAD_ADMIN_DIR": str(admin),
        },
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    reason = f"services.web: {admin}/web-1.crash says that web-1 must not start; remove it"
    assert [line for line in done.stderr.splitlines() if "[INFO]" not in line] == [reason]
    assert "Listening" not in done.stderr
    assert not accepts(port)
