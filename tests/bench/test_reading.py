"""What other programs print or are told, read: wrk, a running program, the peers."""

import subprocess
from pathlib import Path

import pytest

from bench import proxies
from bench.cost import Rate, read_wrk
from bench.recovery import bare
from bulkhead import proc
from bulkhead.proc import Process
from bulkhead.render.files import environment
from bulkhead.testing import wait_until

WRK = """\
Running 2s test @ http://127.0.0.1:1/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.56ms    1.07ms  20.50ms   88.50%
    Req/Sec    12.60k     1.07k   13.60k    80.00%
  25080 requests in 2.00s, 4.50MB read
Requests/sec:  12531.35
Transfer/sec:      2.25MB
"""


def test_wrk_is_read() -> None:
    assert read_wrk(WRK) == Rate(25080, 12531.35)


@pytest.mark.parametrize(
    "bad", ["  Non-2xx or 3xx responses: 3\n", "  Socket errors: connect 0, read 1, write 0\n"]
)
def test_a_failure_that_wrk_saw_is_a_failure(bad: str) -> None:
    with pytest.raises(RuntimeError, match=bad.split(":")[0].strip()):
        read_wrk(WRK + bad)


def test_the_bare_program_is_a_running_one_that_nobody_hears(tmp_path: Path) -> None:
    variables = {"BULKHEAD_ADDRESS": "127.0.0.1:8101", "NOTIFY_SOCKET": "/run/n", "A": "1 %"}
    with subprocess.Popen(["sleep", "60"], env=variables, cwd=tmp_path) as child:
        process = Process(child.pid, 0)
        wait_until("its exec is over", lambda: proc.variable(process, "A"))
        found = bare(process)
        child.kill()
    assert found == (["sleep", "60"], variables | {"NOTIFY_SOCKET": "/run/n.nobody"}, tmp_path)


@pytest.mark.parametrize("peer", proxies.PEERS, ids=lambda peer: peer.name)
def test_every_line_of_a_peer_that_tunes_it_has_its_reason(peer: proxies.Peer) -> None:
    """A tuned line without a comment, on it or above it, could not be argued with."""
    names = ("lb_", "health_", "retr", "timeout", "option", "default-server", "balance")
    before = ""
    for line in (proxies.TEMPLATES / peer.template).read_text().splitlines():
        if line.strip().startswith(names):
            assert "#" in line or before.strip().startswith("#"), line
        before = line


@pytest.mark.parametrize("peer", proxies.PEERS, ids=lambda peer: peer.name)
def test_a_peer_listens_on_loopback_and_knows_every_instance(peer: proxies.Peer) -> None:
    text = environment(proxies.TEMPLATES).get_template(peer.template).render(
        folder="/f", port=7001, workers=2, addresses=["127.0.0.1:7002", "127.0.0.1:7003"]
    )  # fmt: skip
    assert "127.0.0.1:7002" in text
    assert "127.0.0.1:7003" in text
    assert "127.0.0.1:7001" in text or "bind 127.0.0.1\n" in text
    assert "0.0.0.0" not in text
