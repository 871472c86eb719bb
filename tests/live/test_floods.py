"""One client, or many slow ones, try to take all that the proxy has: the others are served."""

import resource
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bulkhead import clock
from tests.support.crowd import crowd, statuses, wait_for_busy, wait_for_in_flight
from tests.support.watched import Watched, watched

pytestmark = pytest.mark.live

FLOOD = 9000
OTHER = "127.0.0.2"  # the address of another client


@pytest.mark.parametrize("balancer", ["watched", "nginx"])
def test_a_client_has_so_many_requests_and_no_more(tmp_path: Path, balancer: str) -> None:
    settings = ("proxy.workers=1", "proxy.client_requests=5", f"proxy.balancer={balancer}")
    with watched(tmp_path / "home", *settings, count=1) as proxy:
        proxy.serve()
        if balancer == "watched":
            proxy.tell_all("up")
        pool, answers = crowd(5, lambda n: proxy.ask(f"/api/{n}?wait=2"))
        wait_for_busy(proxy, 5)
        refused = proxy.ask("/api/one-more")
        assert (refused.status, refused.instance) == (429, "proxy")
        assert refused.json()["error_code"] == "too_many_requests"
        assert refused.headers["Retry-After"] == "1"
        assert b"<h1>429</h1>" in proxy.ask(headers={"Accept": "text/html"}).body
        assert proxy.ask("/static/style.css").status == 429, "of every kind"
        assert proxy.ask("/api/another-client", source=OTHER).status == 200
        with pool:
            assert statuses(answers) == {200: 5}
        assert proxy.ask("/api/again").status == 200, "what is over does not count"


def test_a_killed_workers_requests_do_not_count(tmp_path: Path) -> None:
    settings = ("proxy.workers=1", "proxy.client_requests=3")
    with watched(tmp_path / "home", *settings, count=1, alerts="exited on signal 9") as proxy:
        proxy.serve()
        proxy.tell_all("up")
        pool, answers = crowd(3, lambda n: proxy.ask(f"/api/{n}?wait=60"))
        wait_for_in_flight(proxy, 3)
        for worker in proxy.workers():
            subprocess.run(["kill", "-9", str(worker)], check=True)
        with pool:
            assert all(isinstance(answer.exception(), OSError) for answer in answers)
        assert proxy.ask("/api/").status == 200


def test_slow_readers_fill_no_disk(tmp_path: Path) -> None:
    """60 clients ask for 16 MB each and read nothing."""
    settings = ("services.api.max_in_flight=100", "proxy.answer_file_kb=512")
    with watched(tmp_path / "home", *settings, count=1) as proxy, ExitStack() as stack:
        proxy.serve()
        proxy.tell_all("up")
        for _ in range(60):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", int(proxy.url.rpartition(":")[2])))
            client.sendall(b"GET /api/?bytes=16000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for_in_flight(proxy, 60)
        assert proxy.ask("/api/").status == 200
        assert proxy.stored() <= 60 * 512 * 1024


@contextmanager
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < FLOOD + 500:
        pytest.skip(f"needs {FLOOD + 500} open files: the hard limit is {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.load
def test_a_flood_of_half_headers(tmp_path: Path) -> None:
    """9,000 connections from one address that never send all of their headers."""
    with watched(tmp_path / "home") as proxy, many_descriptors(), ExitStack() as stack:
        proxy.serve()
        proxy.tell_all("up")
        for _ in range(FLOOD):
            client = stack.enter_context(socket.socket())
            client.connect(("127.0.0.1", int(proxy.url.rpartition(":")[2])))
            client.sendall(b"GET /api/ HTTP/1.1\r\nHost: x\r\nA:")
        assert serves(proxy) < 1
        assert proxy.connections() > FLOOD / 2, "the flood is still there"


SLOW = {
    "headers": ["-H", "-i", "5"],
    "bodies": ["-B", "-i", "5", "-s", "8192"],
    "readers": ["-X", "-w", "1", "-y", "8", "-n", "5", "-z", "32", "-k", "1"],
}


@pytest.mark.load
@pytest.mark.parametrize("kind", SLOW)
def test_slowhttptest(tmp_path: Path, kind: str) -> None:
    program = shutil.which("slowhttptest")
    if not program:
        pytest.skip("needs slowhttptest: apt-get install slowhttptest")
    with watched(tmp_path / "home") as proxy, many_descriptors():
        proxy.serve()
        proxy.tell_all("up")
        # More than the sockets' buffers take, so that nginx has to keep it.
        target = f"{proxy.url}/api/?bytes=500000" if kind == "readers" else f"{proxy.url}/api/"
        command = [program, *SLOW[kind], "-c", "2000", "-r", "200", "-l", "12", "-u", target]
        attack = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_connections(proxy, 500)
            worst = serves(proxy)
        finally:
            attack.kill()
            attack.wait()
        assert worst < 1


def wait_for_connections(proxy: Watched, count: int) -> None:
    assert clock.wait_until(lambda: proxy.connections() > count, 10, 0.05)


def serves(proxy: Watched) -> float:
    """Ask 200 times, eight clients of another address at a time; the longest that it took."""

    def ask(number: int) -> tuple[int, float]:
        begun = clock.now()
        status = proxy.ask(f"/api/{number}", source=OTHER).status
        return status, clock.now() - begun

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(200)))
    assert Counter(status for status, _ in answers) == {200: 200}
    return max(took for _, took in answers)
