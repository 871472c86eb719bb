"""`drill --clean`: what a killed drill has left is named, and ended; one that runs is not."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.drill import leftovers
from bulkhead.faults import disk
from bulkhead.hosts import netns
from bulkhead.hosts.namespaces import DATABASE_FOLDER, NETWORK
from bulkhead.hosts.netns import ip
from bulkhead.proc import Process
from bulkhead.render.paths import Home
from bulkhead.supervise.record import survivors
from bulkhead.testing import wait_until
from tests.support.small_volumes import mount_or_skip
from tests.support.spaces import require_namespaces
from tests.support.stack import ROOT

pytestmark = [pytest.mark.live, pytest.mark.timeout(300)]

NOTHING = "no drill has left anything\n"


def bulkhead(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: text for key, text in os.environ.items() if key != "BULKHEAD_SET"}
    return subprocess.run(
        [sys.executable, "-m", "bulkhead.cli", *words, "--set", f"stack.home={home}"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


@contextmanager
def drill(name: str, home: Path, tmp: Path) -> Iterator[Process]:
    """A drill that runs; it is killed at the end, and what it left is cleaned."""
    environment = {key: text for key, text in os.environ.items() if key != "BULKHEAD_SET"}
    child = subprocess.Popen(
        [sys.executable, "-m", "bulkhead.cli", "drill", name, "--set", f"stack.home={home}"],
        cwd=ROOT,
        env=environment | {"TMPDIR": str(tmp)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        found = proc.find(child.pid)
        assert found
        yield found
    finally:
        child.kill()
        child.wait()
        bulkhead(home, "drill", "--clean")


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paths of unix sockets are limited."""
    return tmp_path_factory.mktemp("c")


@pytest.fixture
def home(short: Path) -> Path:
    made = short / "home"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def tmp(short: Path) -> Path:
    """Where PostgreSQL's own user can get to."""
    made = short / "tmp"
    made.mkdir()
    # Of the folders on the way pytest's own are closed to others; pytest-xdist adds one.
    for folder in (made, *made.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    return made


def test_where_nothing_is_left_that_is_said(home: Path) -> None:
    done = bulkhead(home, "drill", "--clean")
    assert (done.returncode, done.stdout, done.stderr) == (0, NOTHING, "")
    (home / "drill" / "rows").mkdir(parents=True)  # what a drill that ended well leaves
    assert leftovers.left(Home(home)) == ""
    assert bulkhead(home, "drill", "--clean").stdout == NOTHING


def test_a_killed_drill_is_named_by_status_and_cleaned(home: Path, tmp: Path) -> None:
    path = home / "drill"
    with drill("steady", home, tmp) as running:
        wait_until("its stack is up", lambda: len(survivors(Home(path))) > 8, timeout_s=60)
        assert leftovers.runs(path) == running
        refused = bulkhead(home, "drill", "--clean")
        assert refused.returncode == 5
        assert f"another drill (pid {running.pid}) is running" in refused.stderr
        assert "interrupted" not in bulkhead(home, "status").stderr
        assert proc.alive(running)
        proc.send(running, signal.SIGKILL)
        wait_until("it is dead", lambda: not proc.alive(running))
        said = bulkhead(home, "status").stderr
        assert "an interrupted drill has left" in said
        assert "processes of a stack: `bulkhead drill --clean` ends it" in said
        done = bulkhead(home, "drill", "--clean")
        assert (done.returncode, done.stderr) == (0, "")
        assert "an interrupted drill has left" in done.stdout
        assert survivors(Home(path)) == []
        assert not path.exists()
        assert "interrupted" not in bulkhead(home, "status").stderr
        assert bulkhead(home, "drill", "--clean").stdout == NOTHING


def test_a_killed_drill_on_namespaces_leaves_nothing(home: Path, tmp: Path) -> None:
    require_namespaces()
    file = home / "drill" / NETWORK
    with drill("host-cut", home, tmp) as running:

        def spaces() -> list[str]:
            return netns.namespaces(file)

        def processes() -> list[Process]:
            return [one for space in spaces() for one in netns.members(space)]

        wait_until("its hosts run", lambda: len(processes()) > 12, timeout_s=90)
        names = spaces()
        assert len(names) == 5
        proc.send(running, signal.SIGKILL)
        wait_until("it is dead", lambda: not proc.alive(running))
        said = bulkhead(home, "status").stderr
        assert "5 namespaces" in said
        assert "processes in them" in said
        left = processes()
        assert bulkhead(home, "drill", "--clean").returncode == 0
        assert [one for one in left if proc.alive(one)] == []
        there = ip("netns", "list").split()
        assert [one for one in names if one in there] == []
        mounts = Path("/proc/self/mounts").read_text()
        assert f"/netns/bh{running.pid}-" not in mounts
        assert str(home) not in mounts
        assert list(tmp.iterdir()) == []  # the database, too


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\0", b'{"link": 5, "namespaces": [1]}'])
def test_a_note_that_nobody_can_read_is_none(home: Path, text: bytes) -> None:
    path = home / "drill"
    path.mkdir()
    for name in (NETWORK, "compose.json"):
        (path / name).write_bytes(text)
    assert leftovers.left(Home(home)) == ""
    assert bulkhead(home, "drill", "--clean").stdout == NOTHING
    assert not path.exists()


@pytest.mark.parametrize("text", ["/", "/etc", "", ".", "bulkhead"])
def test_a_garbled_note_removes_nothing_else(home: Path, tmp_path: Path, text: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (home / "drill").mkdir()
    (home / "drill" / DATABASE_FOLDER).write_text(text or str(victim))
    assert bulkhead(home, "drill", "--clean").returncode == 0
    assert victim.exists()
    assert Path("/etc").exists()


def test_a_mount_is_named_and_removed(home: Path) -> None:
    path = home / "drill"
    path.mkdir()
    mount_or_skip(path, {"rows": 1})
    try:
        assert leftovers.left(Home(home)) == "1 mounts"
        bulkhead(home, "drill", "--clean")
        assert disk.mounted(path) == []
    finally:
        disk.unmount(path)


def test_the_pid_of_a_dead_drill_that_another_process_has_is_no_drill(home: Path) -> None:
    (home / "drill").mkdir()
    me = proc.find(os.getpid())
    assert me
    lock = home / "drill.lock"
    lock.write_text(f"{me.pid} {me.start_ticks - 1}\n")
    assert leftovers.runs(home / "drill") is None
    lock.write_text(f"{me.pid} {me.start_ticks}\n")
    assert leftovers.runs(home / "drill") == me
    assert leftovers.left(Home(home)) == ""


def test_a_lock_that_is_held_is_respected_whatever_is_in_it(home: Path) -> None:
    with leftovers.alone(home / "drill"):
        (home / "drill.lock").write_text("")
        (home / "drill").mkdir()
        assert bulkhead(home, "drill", "--clean").returncode == 5
        assert (home / "drill").exists()
