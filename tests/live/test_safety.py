"""A home is ours alone, or no stack starts in it; what a stack makes there nobody else can open."""

import os
import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.supervise import record
from bulkhead.testing import wait_until
from tests.support.stack import ECHO, Stack, new_stack, running_stack

pytestmark = pytest.mark.live

SMALL = (*ECHO, "services.api.instances=2", "services.web.instances=1")
REAL = ("services.api.instances=1", "services.web.instances=1", "stack.admin=true")
NOBODY = 65534
VERBS = (
    ["up"],
    ["serve"],
    ["restart"],
    ["down"],
    ["status"],
    ["roll", "api"],
    ["scale", "api=2"],
    ["reload"],
    ["reopen"],
    ["upgrade", "nginx"],
)


def open_to_others(folder: Path) -> list[str]:
    """What in a home others could open, by its own mode."""
    modes = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a body that nginx has just removed
            modes[path] = path.lstat().st_mode
    return [
        f"{stat.filemode(mode)} {path.relative_to(folder)}"
        for path, mode in modes.items()
        if mode & 0o077 and not stat.S_ISLNK(mode)
    ]


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o1777])
def test_a_home_that_others_may_write_to_is_refused(down_stack: Stack, mode: int) -> None:
    home = down_stack.home.path
    home.mkdir()
    home.chmod(mode)
    try:
        for verb in VERBS:
            done = down_stack.bulkhead(*verb, check=False, session=True)
            assert done.returncode == 5, verb
            assert done.stderr == (
                f"bulkhead: {home}: others may write to it (mode {mode:04o}): chmod go-w {home}\n"
            )
        assert list(home.iterdir()) == []
    finally:
        home.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_home_of_another_user_is_refused_to_root_as_well(down_stack: Stack) -> None:
    home = down_stack.home.path
    home.mkdir()
    os.chown(home, NOBODY, -1)
    try:
        for verb in VERBS:
            done = down_stack.bulkhead(*verb, check=False, session=True)
            assert done.returncode == 5, verb
            (line,) = done.stderr.splitlines()
            assert line.startswith(f"bulkhead: {home}: belongs to nobody, and this is root: run")
        assert list(home.iterdir()) == []
    finally:
        os.chown(home, 0, -1)


def as_a_file(place: Path, victim: Path) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.symlink_to(victim)


def as_a_folder(place: Path, victim: Path) -> None:
    place.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.parent.exists():  # an `up` that was refused has made no more than the locks' folder
        place.parent.rmdir()
    elsewhere = victim.with_name("elsewhere")
    elsewhere.mkdir(exist_ok=True)
    place.parent.symlink_to(elsewhere)


@pytest.mark.parametrize("how", [as_a_file, as_a_folder])
def test_a_link_is_not_followed(tmp_path: Path, how: Callable[[Path, Path], None]) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with new_stack(tmp_path / "home", SMALL) as stack:
        for name in ("log/api-1.log", "log/nginx.error.log", "rows/service.jsonl", "tmp/body"):
            place = stack.home.path / name
            how(place, victim)
            done = stack.bulkhead("up", check=False)
            assert done.returncode == 5
            (line,) = done.stderr.splitlines()
            assert "is a link to" in line
            assert "which a stack does not follow: remove it" in line
            (place if how is as_a_file else place.parent).unlink()
        assert victim.read_text() == "precious"
        assert not list((tmp_path / "elsewhere").glob("*"))


@pytest.mark.parametrize("name", ["run/lock", "run/watch.lock"])
def test_a_lock_that_is_a_link_is_not_written_to(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with new_stack(tmp_path / "home", SMALL) as stack:
        stack.home.run.mkdir(mode=0o700, parents=True)
        (stack.home.path / name).symlink_to(victim)
        done = stack.bulkhead("up", check=False)
        assert done.returncode in (5, 71)
        assert len(done.stderr.splitlines()) == 1
        assert victim.read_text() == "precious"
        (stack.home.path / name).unlink()


@pytest.mark.parametrize("settings", [(), ("stack.watch=false", "proxy.balancer=nginx")])
def test_nobody_else_can_open_what_a_stack_makes(tmp_path: Path, settings: tuple[str, ...]) -> None:
    with running_stack(tmp_path / "home", (*REAL, *settings)) as stack:
        assert stack.get("/").status == 200
        assert stack.request("POST", "/api/v1/work?ms=1", body=b"x" * 100_000).status < 600
        assert open_to_others(stack.home.path) == []


def test_the_internal_socket_stays_closed_when_nginx_is_replaced(tmp_path: Path) -> None:
    with running_stack(tmp_path / "home", SMALL) as stack:
        socket = stack.home.internal_socket

        def closed() -> bool:
            return stat.S_IMODE(socket.stat().st_mode) == 0o600

        assert closed()
        stack.bulkhead("reload")
        stack.bulkhead("upgrade", "nginx")
        assert closed()
        found = record.require(stack.home)
        for one in found.members():  # master and workers at once: a new nginx binds anew
            if proc.title(one).startswith("nginx: "):
                proc.send(one, signal.SIGKILL)
        wait_until("nginx is back", lambda: stack.bulkhead("status", check=False).returncode == 0)
        assert closed()
        assert open_to_others(stack.home.path) == []
