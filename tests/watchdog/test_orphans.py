"""What is left of a program whose leader died is retired once its successor serves."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bulkhead.clock import now
from bulkhead.proc import HeldProcess, Process, find, group
from bulkhead.records import WatchRow
from bulkhead.render.paths import Home
from bulkhead.testing import wait_until
from bulkhead.watchdog.liveness import ServingProcess
from bulkhead.watchdog.orphans import Retirement
from bulkhead.watchdog.processes import Program
from bulkhead.watchdog.state import Conf, EventLog, Spec
from tests.support.rows import rows_so_far

pytestmark = pytest.mark.live

CONF = Conf(
    root="", supervisord=[], peers=True, host="", hear="", tell=[], key_file="",
    closing_s=0.3, rows_max_mb=0, rows_keep=5, public="", programs=[],
)  # fmt: skip

# Says so on stdout once it is ready; ends with a code that tells by which signal, or not at all.
ORPHAN = """
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
            code = ORPHAN.format(on="signal.SIG_IGN" if deaf else "end")
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
        self.home.orphans.mkdir(parents=True)
        self.home.rows.mkdir()
        self.retirement = Retirement(self.home, EventLog(self.home))
        found = find(os.getpid())
        assert found
        self.me: Process = found
        self.program = Program(Spec("one", kind, "", "", 1, 0.5, 0.5), now())
        self.program.leader = HeldProcess(self.me)

    def serve(self) -> None:
        """From now on the program serves."""
        self.program.was_ready = True
        self.program.serving[self.me.pid] = ServingProcess(self.me)

    def turn(self) -> bool:
        """One turn of the watchdog; whether all has been done."""
        self.retirement.turn(CONF, {"one": self.program})
        return bool(self.said) and self.said[-1].endswith("has ended")

    @property
    def said(self) -> list[str]:
        """What the watchdog has said of the program's orphans."""
        rows = rows_so_far(self.home.watch_rows, WatchRow) if self.home.watch_rows.exists() else []
        assert {(row.kind, row.target) for row in rows} <= {("orphan", "one")}
        return [row.detail for row in rows]

    def mark(self, number: int) -> Path:
        """Say that a group is what is left of the program."""
        marker = self.home.orphans / str(number)
        marker.write_text("one\n")
        return marker


def test_nginx_workers_announce_their_end_then_quit(tmp_path: Path, start: Start) -> None:
    site, orphan = Site(tmp_path, "nginx"), start()
    marker = site.mark(orphan.pid)
    closing = site.home.closing / str(orphan.pid)
    assert not site.turn()
    assert not closing.exists()  # nobody serves in their place yet
    site.serve()
    began = now()
    site.turn()
    assert closing.exists()
    wait_until("they have ended", site.turn)
    assert orphan.wait() == 3  # SIGQUIT
    assert now() - began >= CONF.closing_s
    assert not marker.exists()
    assert not closing.exists()
    assert site.said == [
        f"group {orphan.pid} announces its end: {orphan.pid}",
        f"group {orphan.pid} is told to end: {orphan.pid}",
        f"group {orphan.pid} has ended",
    ]


def test_others_are_told_to_end_and_killed_after_their_grace_time(
    tmp_path: Path, start: Start
) -> None:
    site, polite, deaf = Site(tmp_path, "gunicorn"), start(), start(deaf=True)
    site.serve()
    for one in (polite, deaf):
        site.mark(one.pid)
    began = now()
    wait_until("they have ended", lambda: [site.turn(), not list(site.home.orphans.iterdir())][1])
    assert polite.wait() == 15
    assert deaf.wait() == -9
    assert now() - began >= 0.5
    assert f"group {deaf.pid} is killed: {deaf.pid}" in site.said
    assert not any("announces" in one for one in site.said)


def test_a_note_that_was_never_finished_holds_nobody_up(tmp_path: Path, start: Start) -> None:
    site, orphan = Site(tmp_path, "gunicorn"), start()
    (site.home.orphans / ".4194000.u7hx2k1c").write_text("one\n")  # as write_all leaves it
    site.serve()
    site.mark(orphan.pid)
    wait_until("it has ended", site.turn)
    assert orphan.wait() == 15


def test_the_group_of_the_leader_is_left_alone(tmp_path: Path, start: Start) -> None:
    site, leader = Site(tmp_path, "gunicorn"), start()
    found = find(leader.pid)
    assert found
    site.program.leader = HeldProcess(found)
    site.serve()
    site.mark(leader.pid)
    assert not site.turn()
    assert site.said == []
    assert group(leader.pid) == [found]
