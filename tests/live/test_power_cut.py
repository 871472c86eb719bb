"""A home whose files were emptied, cut or garbled: by a power cut, or by a disk.

Which files there are the stack itself says: whatever it has written is tried.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.errors import StateError
from bulkhead.proc import Process
from bulkhead.render.paths import Home
from bulkhead.supervise import record
from bulkhead.supervise.record import survivors
from bulkhead.testing import wait_until
from tests.live.test_lifecycle import assert_nothing_left, members
from tests.support.stack import ECHO, ROOT, Stack, new_stack, running_stack

pytestmark = pytest.mark.live

SMALL = (*ECHO, "services.api.instances=2", "services.web.instances=1")
NUL = b"\0" * 4096


def wrong_types(text: bytes) -> bytes:
    """Well-formed, and each value is of another type than it should be."""
    try:
        known = json.loads(text)
    except ValueError:
        return b"[]\n"
    if not isinstance(known, dict):
        return b'{"a": 1}'
    return json.dumps({key: [value] for key, value in known.items()}).encode()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda text: text[: len(text) // 2],
    "cut-after-a-digit": lambda text: text[:1],
    "zeros": lambda text: NUL[: max(1, len(text))],
    "binary": lambda text: bytes(range(256)) * (1 + len(text) // 256),
    "types": wrong_types,
    "deep": lambda _: b"[" * 100_000,
    "huge": lambda _: b"9" * 30 + b" " + b"9" * 5000 + b"\n",
}


def files(home: Home) -> list[Path]:
    """Every regular file that a stack has written into its home, but no log and no row."""
    folders = (home.etc, home.run, home.data)
    found = [path for folder in folders for path in sorted(folder.rglob("*"))]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def spoil(paths: list[Path], how: str) -> None:
    for path in paths:
        path.write_bytes(DAMAGES[how](path.read_bytes()))


def one_clear_line(done: "subprocess.CompletedProcess[str]") -> bool:
    return "Traceback" not in done.stderr and "defect" not in done.stderr


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Path]]:
    """A stack that a power cut has ended, and a copy of what it had on its disk."""
    with new_stack(tmp_path_factory.mktemp("c") / "home", SMALL) as stack:
        stack.bulkhead("up")
        left = members(stack)
        for one in left:  # one after the other: the watchdog may be faster than we are
            proc.send(one, signal.SIGSTOP)
        for one in left:
            proc.send(one, signal.SIGKILL)
        wait_until("nothing runs", lambda: not members(stack))
        copy = stack.home.path.with_name("copy")
        ignored = shutil.ignore_patterns("*.sock")
        shutil.copytree(stack.home.path, copy, ignore=ignored)
        yield stack, copy


def restore(stack: Stack, copy: Path) -> None:
    assert survivors(stack.home) == []
    shutil.rmtree(stack.home.path)
    shutil.copytree(copy, stack.home.path)


def test_the_files_are_those_that_matter(cut: tuple[Stack, Path]) -> None:
    stack, copy = cut
    restore(stack, copy)
    names = {str(path.relative_to(stack.home.path)) for path in files(stack.home)}
    assert {"run/stack.json", "run/watch.json", "run/programs/api-1", "etc/watch.json"} <= names
    assert {"data/session.key", "etc/nginx.conf", "etc/supervisord.conf", "run/lock"} <= names


@pytest.mark.parametrize("how", DAMAGES)
def test_no_file_keeps_a_stack_from_starting(cut: tuple[Stack, Path], how: str) -> None:
    stack, copy = cut
    restore(stack, copy)
    spoil([path for path in files(stack.home) if path.parent != stack.home.data], how)
    stack.home.secret.write_bytes(DAMAGES[how](stack.home.secret.read_bytes()))
    status = stack.bulkhead("status", check=False)
    assert (status.returncode, one_clear_line(status)) == (5, True)
    assert f"{stack.home.record}: is" in status.stderr
    assert stack.bulkhead("check").stderr == ""
    up = stack.bulkhead("up")
    try:
        assert up.stderr == ""
        assert up.stdout.count("as a power cut leaves it; nothing of the stack runs") == 1
        # What is left of a key may be long enough for one.
        assert ("sessions end" in up.stdout) == (how not in ("cut", "deep", "huge"))
        assert stack.get("/api/").status == 200
        stack.bulkhead("status")
    finally:
        stack.bulkhead("down")


@pytest.mark.parametrize("how", DAMAGES)
def test_each_file_by_itself(cut: tuple[Stack, Path], how: str) -> None:
    stack, copy = cut
    restore(stack, copy)
    for name in [path.relative_to(stack.home.path) for path in files(stack.home)]:
        restore(stack, copy)
        spoil([stack.home.path / name], how)
        with pytest.raises(StateError, match="is not up: run `make up`"):
            record.require(stack.home)
        assert record.leader(stack.home, "api-1") is None
    spoil([stack.home.record], how)
    down = stack.bulkhead("down")
    assert "as a power cut leaves it; nothing of the stack runs" in down.stdout
    assert not stack.home.record.exists()


def test_serve_starts_whatever_is_left(cut: tuple[Stack, Path]) -> None:
    stack, copy = cut
    restore(stack, copy)
    spoil(files(stack.home)[:], "cut")
    (stack.home.data / "ledger.sqlite3").unlink(missing_ok=True)
    command = [sys.executable, "-m", "bulkhead.cli", "serve"]
    environment = {**os.environ, "BULKHEAD_SET": " ".join(stack.settings)}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        wait_until("all is ready", lambda: serves(stack), timeout_s=30)
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == 0
    stack.bulkhead("down")


def serves(stack: Stack) -> bool:
    return stack.bulkhead("status", check=False).returncode == 0


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Stack]:
    with running_stack(tmp_path / "home", SMALL) as stack:
        yield stack


@pytest.mark.parametrize("how", ["empty", "types", "binary"])
def test_a_stack_that_runs_without_a_record_is_said_and_can_be_ended(live: Stack, how: str) -> None:
    before = members(live)
    assert set(survivors(live.home)) == set(before)
    spoil([live.home.record], how)
    for verb in (["status"], ["up"], ["restart"], ["roll", "api"], ["reload"], ["reopen"]):
        done = live.bulkhead(*verb, check=False)
        assert (done.returncode, one_clear_line(done)) == (5, True), verb
        assert len(done.stderr.splitlines()) == 1
        assert "processes of this stack run" in done.stderr
        assert "`make down` ends them" in done.stderr
    assert "stopping" in live.bulkhead("down").stdout
    assert_nothing_left(live, before)


@pytest.mark.parametrize("how", ["empty", "binary", "types", "huge"])
def test_a_stack_that_runs_goes_on_whatever_else_is_garbled(live: Stack, how: str) -> None:
    serving = ("api-1", "api-2", "web-1")
    before = {name: leader(live, name) for name in serving}
    others = [path for path in files(live.home) if path != live.home.record]
    spoil([path for path in others if path.parent != live.home.data], how)
    status = live.bulkhead("status", check=False)
    assert (status.returncode in (0, 1), one_clear_line(status)) == (True, True), status
    assert live.get("/api/").status == 200
    for verb in (["roll", "api-1"], ["reload"]):
        assert one_clear_line(live.bulkhead(*verb, check=False)), verb
    assert live.get("/api/").status == 200
    assert [name for name in ("api-2", "web-1") if not proc.alive(before[name])] == []
    live.bulkhead("restart")
    assert live.bulkhead("status").returncode == 0


def leader(stack: Stack, name: str) -> Process:
    found = record.leader(stack.home, name)
    assert found
    return found
