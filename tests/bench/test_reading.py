"""What other programs print or are told, read: wrk, an answer's head, a supervisord.conf."""

from pathlib import Path

import pytest

from bench import programs, proxies, wrk
from bench.probe import boot_of
from bulkhead.render.templates import environment

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
    assert wrk.read(WRK) == wrk.Rate(25080, 12531.35)


@pytest.mark.parametrize(
    "bad", ["  Non-2xx or 3xx responses: 3\n", "  Socket errors: connect 0, read 1, write 0\n"]
)
def test_a_failure_that_wrk_saw_is_a_failure(bad: str) -> None:
    with pytest.raises(RuntimeError, match=bad.split(":")[0].strip()):
        wrk.read(WRK + bad)


def test_boot_is_that_of_a_good_answer() -> None:
    head = b"HTTP/1.1 %d X\r\nx-boot: 12.34\r\nContent-Length: 2\r\n\r\nX-Boot: 5"
    assert boot_of(head % 200) == "12.34"
    assert boot_of(head % 503) == ""
    assert boot_of(b"") == ""


def test_the_bare_program_is_the_launched_one_without_its_launcher(tmp_path: Path) -> None:
    conf = tmp_path / "supervisord.conf"
    conf.write_text(
        f"[supervisord]\nlogfile={tmp_path}/log\n"
        "[program:api-1]\n"
        f"directory={tmp_path}\n"
        "command=/bin/sh '/a checkout/supervisor/launch' /run api-1 /py /py -m services.api\n"
        'environment=BULKHEAD_ADDRESS="127.0.0.1:8101",NOTIFY_SOCKET="/run/n",A="1"\n'
    )
    command = programs.commands(conf)["api-1"]
    bare = command.bare("127.0.0.1:9000")
    assert bare.words == ["/py", "-m", "services.api"]
    assert bare.environment == {
        "BULKHEAD_ADDRESS": "127.0.0.1:9000", "NOTIFY_SOCKET": "/run/n.nobody", "A": "1",
    }  # fmt: skip
    assert command.environment["BULKHEAD_ADDRESS"] == "127.0.0.1:8101"


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
