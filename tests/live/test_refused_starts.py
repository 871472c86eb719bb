"""What a start refuses, warns of, or gives up, in one clear line; and it leaves nothing."""

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from bulkhead.supervise.preflight import KERNEL
from bulkhead.testing import is_free
from tests.support.stack import ECHO, Stack, new_stack

pytestmark = pytest.mark.live


def test_a_broken_topology_starts_nothing(down_stack: Stack) -> None:
    broken = ("--set", "services.api.instances=0", "--set", "proxy.trys=3")
    done = down_stack.bulkhead("up", *broken, check=False)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "bulkhead: stack.toml: proxy.trys = 3: unknown key; did you mean tries? (known: program, "
        "listen, allow_remote, workers, connections, client_requests, grace_s, max_body_kb, "
        "max_header_kb, header_timeout_s, client_timeout_s, answer_file_kb, keepalive_s, tries, "
        "tries_s, connect_s, balancer, queue_timeout_s, queue_max, queue_busy_timeout_s, "
        "retry_share, retry_burst, closing_s, upstream_idle, upstream_idle_s)",
        "bulkhead: stack.toml: services.api.instances = 0: must be at least 1",
    ]
    assert not down_stack.home.path.exists()


def test_taken_ports_are_named_with_their_owner_before_anything_starts(down_stack: Stack) -> None:
    with socket.socket() as one, socket.socket() as other:
        for taker in (one, other):
            taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", down_stack.ports[0]))
        other.bind(("0.0.0.0", down_stack.ports[2]))
        one.listen()
        other.listen()
        done = down_stack.bulkhead("up", check=False)
    assert done.returncode == 5
    first, second = done.stderr.splitlines()
    assert f"proxy.listen: nginx would listen on 127.0.0.1:{down_stack.ports[0]}" in first
    assert f"services.api.port: api-2 would listen on 127.0.0.1:{down_stack.ports[2]}" in second
    assert all(f"which pid {os.getpid()} (" in line for line in (first, second))
    assert not down_stack.home.log.exists()


@pytest.mark.parametrize("files", [1000, 384, 383, 256, 100])
def test_too_few_files_are_told_with_what_would_do(down_stack: Stack, files: int) -> None:
    def up(*words: str) -> subprocess.CompletedProcess[str]:
        limit = ["prlimit", f"--nofile={files}:{files}"]
        return down_stack.bulkhead("up", *words, check=False, prefix=limit)

    done = up()
    assert (done.returncode, done.stderr.count("\n")) == (5, 1)
    assert f"needs 16640 open files, this user may have {files} (ulimit -Hn)" in done.stderr
    wanted = r"; raise that limit to 16640(, or set proxy.connections = (\d+))?$"
    remedy = re.search(wanted, done.stderr)
    assert remedy
    if files < 384:
        assert not remedy[1], "proxy.connections must be at least 64"
        return
    most = int(remedy[2])
    refused = up("--set", f"proxy.connections={most + 1}")
    assert "open files" in refused.stderr
    assert up("--set", f"proxy.connections={most}").returncode == 0


def test_a_full_disk_is_named_before_anything_starts(
    down_stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """supervisord would end without a word."""
    disk = tmp_path_factory.mktemp("d")  # a short name: the path of a unix socket is limited
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if (done := subprocess.run(mount, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"this system lets nobody mount: {done.stderr.strip()}")
    try:
        words = ("--set", f"stack.home={disk}/home")
        refused = down_stack.bulkhead("up", *words, check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (5, 1)
        place = f"stack.home: the disk of {disk}/home/etc has "
        assert re.search(rf"{place}\d\d KB free, a start needs 1,024 KB; free some", refused.stderr)
        assert not (disk / "home" / "etc").exists()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_ports_that_the_kernel_gives_away_are_warned_of(down_stack: Stack) -> None:
    first, last = map(int, (KERNEL / "ip_local_port_range").read_text().split())
    assert "warning" not in down_stack.bulkhead("check").stdout
    words = ("--set", f"services.api.port={last - 1}", "--set", "services.api.instances=2")
    said = down_stack.bulkhead("check", *words).stdout
    assert said.startswith(
        f"warning: stack.toml: services.api.port: api-1 on {last - 1}, api-2 on {last}: the kernel "
        f"gives {first} to {last} to outgoing connections (net.ipv4.ip_local_port_range)"
    )
    (warning, _right) = said.splitlines()
    # Whether that start succeeds is what the warning leaves open: another test may hold the port.
    assert warning in down_stack.bulkhead("up", *words, check=False).stdout


def test_a_crashing_service_is_shown_with_its_last_lines(tmp_path: Path) -> None:
    settings = [*ECHO, "services.web.app=tests.support.crash"]
    with new_stack(tmp_path / "home", settings) as stack:
        done = stack.bulkhead("up", check=False)
        assert done.returncode == 6
        assert "keeps crashing (BACKOFF" in done.stderr
        assert "    the database password is missing" in done.stderr
        assert "Traceback" not in done.stderr
        assert all(map(is_free, stack.ports)), "a failed up must take back what it started"


def test_a_service_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    """The bound is the topology's boot_s, and the line says which instance and how long."""
    settings = [*ECHO, "services.web.app=tests.support.silent", "services.web.boot_s=1"]
    with new_stack(tmp_path / "home", settings) as stack:
        done = stack.bulkhead("up", check=False)
    assert done.returncode == 6
    assert "web-1 did not answer within 1 s; web-1.log ends:" in done.stderr
    assert "    still loading" in done.stderr


def test_a_missing_nginx_is_one_clear_line(down_stack: Stack) -> None:
    down_stack.settings.append("proxy.program=nginx-of-nowhere")
    done = down_stack.bulkhead("up", check=False)
    assert done.returncode == 4
    assert done.stderr == (
        "bulkhead: nginx-of-nowhere is not installed: `make setup` installs nginx, "
        "or set proxy.program to the path of one\n"
    )
