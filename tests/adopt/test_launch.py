"""supervisor/launch: the short way, and when it takes the long one."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead import proc
from bulkhead.testing import wait_until
from tests.adopt.launching import LAUNCH, Launcher, kill, launcher

# In the place of Python: says how it was called, which only the long way does.
TELLS = '#!/bin/sh\necho adopt "$@"\n'


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    with launcher(tmp_path / "home") as made:
        yield made


def tells(launch: Launcher) -> str:
    path = launch.home.path / "tells"
    path.write_text(TELLS)
    path.chmod(0o700)
    return str(path)


def is_adopted(launch: Launcher, name: str = "api-1") -> bool:
    """Whether a launch of this program takes the long way."""
    child = launch.launch(name, ["/bin/true"], python=tells(launch))
    assert child.wait(10) == 0
    said = f"adopt -S -E -m bulkhead.adopt {launch.home.run} {name} -- /bin/true\n"
    return said in launch.printed(name)


def test_it_becomes_the_command_and_notes_the_leader(launch: Launcher) -> None:
    child = launch.launch("api-1", ["/bin/sleep", "60"])
    found = launch.wait_led("api-1", child)
    assert (launch.home.programs / "api-1").read_text() == f"{found.pid} {found.start_ticks}\n"
    wait_until("it is the command", lambda: proc.title(found) == "/bin/sleep 60 ")
    assert proc.find(child.pid) == found, "the same process"
    assert os.getpgid(child.pid) == child.pid


def test_words_and_environment_reach_the_command_as_they_are(launch: Launcher) -> None:
    words = ["a b", "", "$HOME", "*", "'\"\\"]
    env = {"A": "1 2", "LC_ALL": "C.UTF-8"}
    script = "import os, sys; print(sys.argv[1:], dict(os.environ), flush=True)"
    child = launch.launch("api-1", [sys.executable, "-S", "-c", script, *words], env=env)
    assert child.wait(10) == 0
    assert launch.printed("api-1") == f"{words!r} {env!r}\n"


def test_the_short_way_starts_no_process(launch: Launcher) -> None:
    """With a PATH that leads nowhere a shell has only its builtins."""
    words = ["/bin/sh", LAUNCH, launch.home.run, "api-1", "/nowhere", "/bin/echo", "here"]
    command = [str(word) for word in words]
    for _ in range(2):  # without a note of an earlier start, and with one
        done = subprocess.run(
            command, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "here\n", "")


def test_a_program_starts_even_where_nothing_can_be_noted(launch: Launcher) -> None:
    launch.home.programs.rmdir()
    assert launch.launch("api-1", ["/bin/echo", "here"]).wait(10) == 0
    assert launch.printed("api-1").endswith("here\n")


def test_a_dead_start_is_nobody(launch: Launcher) -> None:
    first = launch.launch("api-1", ["/bin/sleep", "60"])
    launch.wait_led("api-1", first)
    kill(first)
    second = launch.launch("api-1", ["/bin/sleep", "60"])
    launch.wait_led("api-1", second)


def test_a_note_that_nobody_finished_is_nobody(launch: Launcher) -> None:
    (launch.home.programs / "api-1").write_text("")
    launch.wait_led("api-1", launch.launch("api-1", ["/bin/sleep", "60"]))


def test_a_living_leader_is_adopted(launch: Launcher) -> None:
    launch.wait_led("api-1", launch.launch("api-1", ["/bin/sleep", "60"]))
    assert is_adopted(launch)
    assert not is_adopted(launch, "api-2")


def test_a_living_member_of_a_dead_leader_s_group_is_adopted(launch: Launcher) -> None:
    first = launch.launch("api-1", ["/bin/sh", "-c", "sleep 60 & wait"])
    found = launch.wait_led("api-1", first)
    wait_until("it has a child", lambda: proc.children(found.pid))
    kill(first)
    assert is_adopted(launch)


def test_survivors_of_an_earlier_leader_are_adopted(launch: Launcher) -> None:
    (launch.home.orphans / "4194000").write_text("api-1\n")
    assert is_adopted(launch, "api-1")
    assert not is_adopted(launch, "api-2")


def test_only_nginx_removes_the_socket_that_a_killed_one_left(launch: Launcher) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(launch.home.internal_socket))
    assert launch.launch("api-1", ["/bin/true"]).wait(10) == 0
    assert launch.home.internal_socket.exists()
    assert launch.launch("nginx", ["/bin/true"]).wait(10) == 0
    assert not launch.home.internal_socket.exists()


def test_the_socket_of_a_living_nginx_stays(launch: Launcher) -> None:
    launch.wait_led("nginx", launch.launch("nginx", ["/bin/sleep", "60"]))
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(launch.home.internal_socket))
        assert is_adopted(launch, "nginx")
        assert launch.home.internal_socket.exists()
