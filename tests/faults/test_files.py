"""descriptors, nginx_descriptors, rotate and disk_full: files that cannot be opened or written."""

import errno
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from bulkhead.faults import disk, resources
from bulkhead.faults.contract import FaultError, Site, make
from bulkhead.faults.processes import nginx_master
from bulkhead.records import ProxyRow
from bulkhead.testing import wait_until
from tests.faults.conftest import UNWATCHED
from tests.faults.looking import (
    ENDS,
    ask,
    ended_by,
    inject,
    instance,
    is_silent,
    processes,
    site_of,
)
from tests.support.rows import rows_so_far
from tests.support.small_volumes import mount_or_skip
from tests.support.stack import Stack, new_stack

pytestmark = pytest.mark.live


def limit(one: psutil.Process) -> tuple[int, int]:
    return resource.prlimit(one.pid, resource.RLIMIT_NOFILE)


@ENDS
def test_an_instance_takes_no_new_connection_and_serves_the_old_ones(
    real_site: Site, error: type[BaseException] | None
) -> None:
    name = "api-1"
    before = [limit(one) for one in processes(real_site, name)]
    one = instance(real_site, name)
    kept = socket.create_connection((one.host, one.port), timeout=5)
    with kept:
        assert exchange(kept) == b"HTTP/1.1 200 OK"
        with ended_by(error), inject(real_site, "descriptors", name) as proof:
            assert "may open nothing more" in proof
            assert is_silent(real_site, name)
            assert exchange(kept) == b"HTTP/1.1 200 OK"
            assert ask(real_site, "api-2", "/healthz").status == 200  # and nobody else
            if error:
                raise error
    assert [limit(each) for each in processes(real_site, name)] == before
    assert ask(real_site, name, "/healthz").instance == name


def exchange(connection: socket.socket) -> bytes:
    """One request on a connection that is kept; the first line of its answer."""
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection.recv(65536).partition(b"\r\n")[0]


@ENDS
def test_nginxs_workers_can_open_nothing_and_then_again(
    real_site: Site, error: type[BaseException] | None
) -> None:
    master = nginx_master(real_site)
    before = [limit(one) for one in psutil.Process(master.pid).children()]
    with ended_by(error), make("nginx_descriptors", {}).injected(real_site, ()):
        for worker in psutil.Process(master.pid).children():
            soft, hard = limit(worker)
            assert soft < before[0][0]
            assert hard == before[0][1]
            used = {int(one.name) for one in Path(f"/proc/{worker.pid}/fd").iterdir()}
            assert set(range(soft)) <= used
        if error:
            raise error
    assert [limit(one) for one in psutil.Process(master.pid).children()] == before


def test_what_a_killed_driver_has_left_lowered_is_healed(real_site: Site) -> None:
    (victim,) = real_site.processes(instance(real_site, "api-3"))
    resources.lower([victim])
    assert is_silent(real_site, "api-3")
    make("descriptors", {}).heal(real_site, (instance(real_site, "api-3"),))
    assert ask(real_site, "api-3", "/healthz").instance == "api-3"


def test_files_are_rotated_while_everybody_writes(real: Stack, real_site: Site) -> None:
    before = {path: path.stat().st_ino for path in (real.home.proxy_rows, real.home.service_rows)}
    first = real.get("/api/v1/whoami").headers["X-Request-ID"]
    injected = make("rotate", {}).injected(real_site, ())
    with injected as proof:
        assert "proxy.jsonl.1" in proof
        second = real.get("/api/v1/whoami").headers["X-Request-ID"]
    for path, inode in before.items():
        assert path.with_name(f"{path.name}.1").stat().st_ino == inode
        assert path.stat().st_ino != inode
    assert first in ids(real.home.proxy_rows.with_name("proxy.jsonl.1"))
    assert second in ids(real.home.proxy_rows)
    assert injected.healed == "nothing to undo; every instance answers"


def ids(path: Path) -> set[str]:
    return {row.id for row in rows_so_far(path, ProxyRow)}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose data and logs are small disk."""
    folder = tmp_path_factory.mktemp("small") / "home"
    with new_stack(folder, UNWATCHED) as stack:
        mount_or_skip(folder, {"data": 16, "log": 16, "rows": 16})
        try:
            stack.bulkhead("up")
            yield stack
        finally:
            stack.bulkhead("down")
            disk.unmount(folder)


@ENDS
@pytest.mark.parametrize("volume", ["data", "log", "rows"])
def test_a_volume_has_no_room_and_then_has_some(
    small: Stack, volume: str, error: type[BaseException] | None
) -> None:
    site = site_of(small)
    folder = small.home.path / volume
    with ended_by(error), make("disk_full", {"volume": volume}).injected(site, ()):
        with pytest.raises(OSError) as caught:
            (folder / "one-byte").write_bytes(b"x")
        assert caught.value.errno == errno.ENOSPC
        assert small.get("/api/v1/entries").status == 200
        assert f"{folder}: no space left" in small.bulkhead("status").stdout
        if error:
            raise error
    assert not list(folder.glob("ballast*"))
    (folder / "one-byte").write_bytes(b"x")
    (folder / "one-byte").unlink()
    entry = {"account": "a", "amount": 1}
    assert small.request("PUT", f"/api/v1/entries/{volume}", body=entry).status in (200, 201)


def test_without_room_for_logs_a_dead_program_is_started_again(small: Stack) -> None:
    """supervisord logs each death and each start, and prints what it cannot log."""
    site = site_of(small)
    supervisord = small.status()["supervisord"]["pid"]
    with make("disk_full", {"volume": "log"}).injected(site, ()):
        for log in ("supervisord.log", "supervisord.out"):
            fill(small.home.log / log)
        for name in ("api-1", "api-2", "web-1"):
            before = small.status()[name]["pid"]
            psutil.Process(before).kill()
            wait_until("another leads", lambda: leads_anew(small, name, before), 20)  # noqa: B023
    assert small.status()["supervisord"]["pid"] == supervisord


def fill(path: Path) -> None:
    """Use what is left of the last page of a file: it has room though the volume has none."""
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(b" "):
            pass


def leads_anew(stack: Stack, name: str, before: int) -> bool:
    found = stack.status()[name]
    return found["pid"] not in (None, before) and found["ready"]


def test_a_real_disk_is_never_filled(real_site: Site) -> None:
    fault = make("disk_full", {"volume": "log"})
    why = fault.available(real_site)
    assert why.startswith(f"{real_site.home.log} is no volume of its own")
    with pytest.raises(FaultError, match="is no volume of its own"):
        fault.injected(real_site, ()).__enter__()
    assert not list(real_site.home.log.glob("ballast*"))
