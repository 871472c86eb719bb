"""A place where datagram sockets hold few datagrams, and nobody may raise a priority."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulkhead.testing import wait_until

QLEN = Path("/proc/sys/net/unix/max_dgram_qlen")
# Who writes the sysctl must be root of the network namespace; who runs the stack must not be.
INSIDE = """
echo {length} >{qlen} && ip link set lo up &&
exec unshare --user --map-user=1000 --map-group=1000 sh -c 'echo ready; exec sleep 1000'
"""


@contextmanager
def small_queue(length: int = 10) -> Iterator[Sequence[str]]:
    """The words before a command that runs it there, as an ordinary user, on our file system.

    Skips the test, and says why, where there can be no such place.
    """
    if missing := [name for name in ("unshare", "nsenter", "ip") if shutil.which(name) is None]:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    inside = INSIDE.format(length=length, qlen=QLEN)
    keeper = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", inside],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert keeper.stdout
    assert keeper.stderr
    try:
        if keeper.stdout.readline() != "ready\n":
            pytest.skip(f"no namespace with a queue of {length}: {keeper.stderr.read().strip()}")
        prefix = ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(keeper.pid)]
        found = subprocess.run(
            [*prefix, "cat", str(QLEN)], capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == str(length)
        yield prefix
    finally:
        keeper.kill()
        keeper.communicate()


@contextmanager
def busy_processors(count: int) -> Iterator[None]:
    """So many processes compute all the time."""
    burners = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        wait_until("they compute", lambda: all(_ran_s(one.pid) > 0.1 for one in burners))
        yield
    finally:
        for one in burners:
            one.kill()
            one.wait()


def _ran_s(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
