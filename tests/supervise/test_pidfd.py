"""pidfd_getfd(2): permitted here or not is found out by trying it, as a stranger would."""

import errno
import os
import subprocess
import sys

import pytest

from bulkhead.proc import PIDFD_GETFD, duplicate
from bulkhead.supervise.preflight import notes
from bulkhead.topology.parse import load
from tests.support.stack import ROOT

PERMITTED = "from bulkhead.proc import may_duplicate as may; print(may())"


def test_a_duplicate_is_the_same_file() -> None:
    reading, writing = os.pipe()
    this = os.pidfd_open(os.getpid())
    copy = duplicate(this, reading)
    os.write(writing, b"x")
    assert os.read(copy, 1) == b"x"
    assert not os.get_inheritable(copy)
    for one in (reading, writing, this, copy):
        os.close(one)


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_what_a_filter_refuses_is_not_permitted(error: int) -> None:
    refused = [sys.executable, "-m", "tests.support.refuse", f"{PIDFD_GETFD}={error}", "--"]
    done = subprocess.run(
        [*refused, sys.executable, "-c", PERMITTED],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("balancer", "words"),
    [("watched", "a gunicorn whose master"), ("nginx", "a killed nginx refuses connections")],
)
def test_a_note_says_what_is_worse(balancer: str, words: str) -> None:
    script = (
        "from pathlib import Path\n"
        "from bulkhead.supervise.preflight import notes\n"
        "from bulkhead.topology.parse import load\n"
        f"print(*notes(load(Path('stack.toml'), ['proxy.balancer={balancer}'])), sep='\\n')\n"
    )
    refused = [sys.executable, "-m", "tests.support.refuse", f"{PIDFD_GETFD}=1", "--"]
    done = subprocess.run(
        [*refused, sys.executable, "-c", script],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.count("\n") == 1
    assert f"pidfd_getfd(2) is not permitted here: {words}" in done.stdout


def test_where_it_is_permitted_there_is_no_note() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PERMITTED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = notes(load(ROOT / "stack.toml", []))
    assert (found == []) == (done.stdout == "True\n")
