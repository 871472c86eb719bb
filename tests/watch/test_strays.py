"""What is left of a program whose leader died is retired once its successor serves."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bulkhead.clock import now
from bulkhead.control.process import Process, find
from bulkhead.render.paths import Home
from bulkhead.watch.conf import Conf, Spec
from bulkhead.watch.heart import Heart
from bulkhead.watch.kernel import Eye, group
from bulkhead.watch.program import Held, Member, Program
from bulkhead.watch.strays import Retirement
from tests.support.waiting import wait_until

pytestmark = pytest.mark.live

CONF = Conf(
    root=Path(), supervisord=(), peers=True, host="", hear="", tell=(), key_file=Path(),
    closing_s=0.3, proxy_grace_s=0.5, programs=(),
)  # fmt: skip

# Says so on stdout once it is ready; ends with a code that tells by which signal, or not at all.
STRAY = """
import signal, sys
def end(number, frame): sys.exit(number)
signal.signal(signal.SIGQUIT, {on}); signal.signal(signal.SIGTERM, {on})
print(flush=True); signal.pause()
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that leads a group of its own."""
    with ExitStack() as cleanup:

        def start(*, deaf: bool = False) -> "subprocess.Popen[bytes]":
            code = STRAY.format(on="signal.SIG_IGN" if deaf else "end")
            child = subprocess.Popen(
                [sys.executable, "-c", code], process_group=0, stdout=subprocess.PIPE
            )
            cleanup.enter_context(child)
            cleanup.callback(child.kill)
            assert child.stdout
            assert child.stdout.readline() == b"\n"
            return child

        yield start


class Site:
    """A home with one program, led by this very process."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.home = Home(folder)
        self.home.strays.mkdir(parents=True)
        self.retirement = Retirement(self.home)
        found = find(os.getpid())
        assert found
        self.me: Process = found
        self.program = Program(Spec("one", kind, "", "", 1, 0.5, 0.5), now())
        self.program.leader = Held(self.me, -1)
        self.said: list[str] = []

    def serve(self) -> None:
        """From now on the program serves."""
        self.program.was_ready = True
        eye = Eye(self.me.pid)
        eye.close()
        self.program.members[self.me.pid] = Member(self.me, -1, eye, Heart(now(), 0.0))

    def turn(self) -> bool:
        """One turn of the watchdog; whether all has been done."""
        for name, what in self.retirement.turn(now(), CONF, {"one": self.program}):
            assert name == "one"
            self.said.append(what)
        return bool(self.said) and self.said[-1].endswith("has ended")

    def mark(self, number: int) -> Path:
        """Say that a group is what is left of the program."""
        marker = self.home.strays / str(number)
        marker.write_text("one\n")
        return marker


def test_nginx_workers_announce_their_end_then_quit(tmp_path: Path, start: Start) -> None:
    site, stray = Site(tmp_path, "nginx"), start()
    marker = site.mark(stray.pid)
    closing = site.home.closing / str(stray.pid)
    assert not site.turn()
    assert not closing.exists()  # nobody serves in their place yet
    site.serve()
    began = now()
    site.turn()
    assert closing.exists()
    wait_until("they have ended", site.turn)
    assert stray.wait() == 3  # SIGQUIT
    assert now() - began >= CONF.closing_s
    assert not marker.exists()
    assert not closing.exists()
    assert site.said == [
        f"group {stray.pid} announces its end: {stray.pid}",
        f"group {stray.pid} is told to end: {stray.pid}",
        f"group {stray.pid} has ended",
    ]


def test_others_are_told_to_end_and_killed_after_their_grace_time(
    tmp_path: Path, start: Start
) -> None:
    site, polite, deaf = Site(tmp_path, "gunicorn"), start(), start(deaf=True)
    site.serve()
    for one in (polite, deaf):
        site.mark(one.pid)
    began = now()
    wait_until("they have ended", lambda: [site.turn(), not list(site.home.strays.iterdir())][1])
    assert polite.wait() == 15
    assert deaf.wait() == -9
    assert now() - began >= 0.5
    assert f"group {deaf.pid} is killed: {deaf.pid}" in site.said
    assert not any("announces" in one for one in site.said)


def test_a_note_that_was_never_finished_holds_nobody_up(tmp_path: Path, start: Start) -> None:
    site, stray = Site(tmp_path, "gunicorn"), start()
    (site.home.strays / ".4194000.u7hx2k1c").write_text("one\n")  # as write_all leaves it
    site.serve()
    site.mark(stray.pid)
    wait_until("it has ended", site.turn)
    assert stray.wait() == 15


def test_the_group_of_the_leader_is_left_alone(tmp_path: Path, start: Start) -> None:
    site, leader = Site(tmp_path, "gunicorn"), start()
    found = find(leader.pid)
    assert found
    site.program.leader = Held(found, -1)
    site.serve()
    site.mark(leader.pid)
    assert not site.turn()
    assert site.said == []
    assert group(leader.pid) == [found]
