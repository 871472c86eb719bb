"""The files that grow: how they are shifted, and who is asked to open them again."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkhead.errors import StateError
from bulkhead.operate.reopen import all_rows_wanted, growing, reopen, rotate, shift
from bulkhead.proc import find
from bulkhead.render.paths import Home
from bulkhead.supervise import record
from bulkhead.supervise.record import Record

# Writes a line to the file for each line that it reads, and opens it again at SIGUSR1 if told so.
WRITER = """
import os, signal, sys
path, handles = sys.argv[1:]
file = open(path, "a")
def again(*_):
    global file
    file = open(path, "a")
if handles == "yes":
    signal.signal(signal.SIGUSR1, again)
print("ready", flush=True)
for line in sys.stdin:
    file.write(line)
    file.flush()
    print("wrote", flush=True)
"""


class Writers:
    """A session of its own with processes that write to a file, as a stack is one."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.started: list[subprocess.Popen[str]] = []

    def start(self, path: Path, handles: bool) -> subprocess.Popen[str]:
        leader = self.started[0].pid if self.started else 0
        one = subprocess.Popen(
            [sys.executable, "-c", WRITER, path, "yes" if handles else "no"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=not leader,
        )
        self.started.append(one)
        assert one.stdout
        assert one.stdout.readline() == "ready\n"
        if not leader:
            found = find(one.pid)
            assert found
            record.write(
                self.home,
                Record(one.pid, found.start_ticks, record.machine(), "nginx", "stack.toml", {}),
            )
        return one

    @staticmethod
    def write(one: subprocess.Popen[str], line: str) -> None:
        assert one.stdin
        assert one.stdout
        one.stdin.write(line + "\n")
        one.stdin.flush()
        assert one.stdout.readline() == "wrote\n"


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    home = Home(tmp_path)
    for folder in (home.run, home.rows, home.log):
        folder.mkdir()
    made = Writers(home)
    yield made
    for one in made.started:
        one.kill()
        one.communicate()


def test_files_shift_and_the_last_one_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "service.jsonl"
    for number in range(1, 5):
        path.write_text(str(number))
        assert shift(path, keep=3) == tmp_path / "service.jsonl.1"
    assert not path.exists()
    left = {one.name: one.read_text() for one in tmp_path.iterdir()}
    assert left == {"service.jsonl.1": "4", "service.jsonl.2": "3", "service.jsonl.3": "2"}


def test_only_what_grows_and_holds_something_is_set_aside(writers: Writers) -> None:
    home = writers.home
    home.proxy_rows.write_text("a row\n")
    home.service_rows.write_text("")
    home.nginx_log.write_text("a line\n")
    (home.log / "api-1.log").write_text("supervisord keeps this one short\n")
    (home.rows / "proxy.jsonl.1").write_text("older\n")
    assert growing(home) == [home.proxy_rows, home.nginx_log]


def test_nothing_is_lost_and_nobody_holds_the_old_file(writers: Writers) -> None:
    rows = writers.home.service_rows
    one = writers.start(rows, handles=True)
    writers.write(one, "before")
    done = reopen(writers.home, keep=5)
    writers.write(one, "after")
    assert done.files == (rows.with_name("service.jsonl.1"),)
    assert done.pids == (one.pid,)
    assert (done.files[0].read_text(), rows.read_text()) == ("before\n", "after\n")
    assert done.bytes == len("before\n")


def test_a_process_without_a_handler_is_named_and_not_signalled(writers: Writers) -> None:
    rows = writers.home.service_rows
    one = writers.start(rows, handles=False)
    writers.write(one, "before")
    with pytest.raises(StateError, match=f"still write to the old ones.*pid {one.pid}"):
        reopen(writers.home, keep=5, patience_s=0.1)
    writers.write(one, "after")
    assert one.poll() is None, "the signal would have ended it"
    assert rows.with_name("service.jsonl.1").read_text() == "before\nafter\n"


def test_a_reader_outside_of_the_stack_is_none_of_its_business(writers: Writers) -> None:
    rows = writers.home.service_rows
    one = writers.start(rows, handles=True)
    writers.write(one, "before")
    with rows.open() as reading:
        done = reopen(writers.home, keep=5)
        assert reading.read() == "before\n"
    assert done.pids == (one.pid,), "a reader of this test's own has no handler for the signal"


def test_only_what_is_too_large_is_rotated(writers: Writers) -> None:
    rows, log = writers.home.service_rows, writers.home.nginx_log
    one = writers.start(rows, handles=True)
    writers.write(one, "x" * 100)
    log.write_text("short\n")
    nothing = rotate(writers.home, keep=5, most_bytes=101)
    assert nothing
    assert nothing.files == ()
    done = rotate(writers.home, keep=5, most_bytes=100)
    assert done
    assert done.files == (rows.with_name("service.jsonl.1"),)
    assert log.read_text() == "short\n"


def test_nothing_is_rotated_while_somebody_wants_all_rows(writers: Writers) -> None:
    rows = writers.home.service_rows
    one = writers.start(rows, handles=True)
    writers.write(one, "x" * 100)
    with all_rows_wanted(writers.home), all_rows_wanted(writers.home):
        assert rotate(writers.home, keep=5, most_bytes=10) is None
    assert rotate(writers.home, keep=5, most_bytes=10)
