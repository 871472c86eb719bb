"""What the load generator itself runs out of is its own outcome, and nobody else's failure."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bulkhead.drill.swarm import verdict
from bulkhead.records import ClientRow
from loadtest.system import shortage
from tests.loadtest import running
from tests.loadtest.few_ports import PORTS
from tests.loadtest.misbehaving import Misbehaving
from tests.support.stack import ROOT

FILES = 60
NO_PORT = (
    f"Cannot assign requested address: the load generator has no local port left of {PORTS[0]} to "
    f"{PORTS[1]}; widen the range (sysctl net.ipv4.ip_local_port_range)"
)
NO_FILE = (
    f"Too many open files: the load generator may open {FILES} files; raise the limit (ulimit -Hn)"
)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EMFILE, f"may open {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} files; raise"),
        (errno.ENFILE, "raise their number (sysctl fs.file-max)"),
        (errno.EADDRNOTAVAIL, "widen the range (sysctl net.ipv4.ip_local_port_range)"),
        (errno.ENOBUFS, "gets no memory for a connection from the kernel"),
        (errno.ENOMEM, "gets no memory for a connection from the kernel"),
    ],
)
def test_every_shortage_says_its_limit_and_what_to_raise(number: int, says: str) -> None:
    line = shortage(OSError(number, "any"))
    assert line.startswith(f"{os.strerror(number)}: the load generator ")
    assert says in line


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(errno.ECONNREFUSED, ""),
        ConnectionResetError(errno.ECONNRESET, ""),
        TimeoutError("no number"),
        OSError(errno.EHOSTUNREACH, ""),
        OSError(errno.ENETDOWN, ""),
    ],
)
def test_what_the_server_or_the_network_does_is_no_shortage(error: OSError) -> None:
    assert shortage(error) == ""


def check(rows: list[ClientRow], said: str) -> None:
    """Some could not be sent, and say why; not one has failed."""
    short = [row for row in rows if row.error == "unsent"]
    assert short
    assert {(row.wrong, row.sent, row.status) for row in short} == {(said, 0.0, 0)}
    assert {row.error for row in rows} <= {"", "unsent", "stopped"}


def closed_load(folder: Path, most_files: int) -> list[ClientRow]:
    """The rows of 90 users who are never answered, and who may open FILES files, or so many."""
    rows = folder / "client.jsonl"
    limited = ["prlimit", f"--nofile={FILES}:{most_files}"]
    words = ["--headless", "-u", "90", "-r", "90", "-t", "4s", "-s", "0"]
    with Misbehaving(("/silent",)) as server:
        asked = {"proxy_url": server.url, "rows": rows}
        env = running.environment(folder / "settings.json", asked)
        subprocess.run(
            [*limited, *running.command(running.LOCUSTFILE, *words)],
            env=env, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    return running.client_rows(rows)


@pytest.mark.live
def test_a_closed_load_without_files_has_requests_that_were_not_sent(tmp_path: Path) -> None:
    check(closed_load(tmp_path, FILES), NO_FILE)


@pytest.mark.live
def test_a_soft_limit_is_no_limit(tmp_path: Path) -> None:
    """Locust leaves it as it is where it cannot have 10,000."""
    found = closed_load(tmp_path, 400)
    assert len(found) > FILES
    assert {row.error for row in found} == {"stopped"}


def with_few_ports(locustfile: str, rows: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    inside = ["unshare", "--net", "--map-root-user"]
    if (tried := subprocess.run([*inside, "true"], capture_output=True, check=False)).returncode:
        pytest.skip(f"no network namespaces on this machine: {tried.stderr.decode().strip()}")
    return subprocess.run(
        [*inside, sys.executable, "-m", "tests.loadtest.few_ports", locustfile, rows, *words],
        cwd=ROOT, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


@pytest.mark.live
def test_a_closed_load_without_ports_has_requests_that_were_not_sent(tmp_path: Path) -> None:
    rows = tmp_path / "client.jsonl"
    done = with_few_ports(running.LOCUSTFILE, rows, "-u", "60", "-r", "60", "-t", "4s", "-s", "0")
    assert rows.exists(), done.stderr
    check(running.client_rows(rows), NO_PORT)


@pytest.mark.live
def test_an_open_load_without_ports_breaks_and_says_why(tmp_path: Path) -> None:
    rows = tmp_path / "client.jsonl"
    done = with_few_ports(running.OPEN, rows)
    assert done.returncode == 1
    line = f"the open loop broke: {NO_PORT}, or ask for fewer connections"
    (tmp_path / "log").write_text(done.stderr)
    assert verdict(tmp_path / "log") == [f"    client rows: {line}"]
    assert {row.error for row in running.client_rows(rows)} <= {"", "stopped", "unsent"}
