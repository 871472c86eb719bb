"""`bulkhead load` against the real services, checked with other eyes than its own."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from bulkhead.records import ClientRow, ProxyRow, ServiceRow, read_rows
from tests.support.stack import ROOT, Stack, new_stack
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.load]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Not up yet: the first load brings it up."""
    with new_stack(tmp_path_factory.mktemp("load") / "home") as made:
        yield made


def start(stack: Stack, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bulkhead.cli", "load", *words],
        cwd=ROOT,
        env={**os.environ, "BULKHEAD_SET": " ".join(stack.settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_observer_tells_the_same_story(stack: Stack) -> None:
    """Client rows, proxy rows, service rows, the ledger, Locust and wc must agree on one load."""
    load = stack.bulkhead("load", "--time", "3", "--users", "20", "--pace", "0.5", "--json")
    figures = json.loads(load.stdout)
    run = Path(figures["run"])
    client = list(read_rows(run / "client.jsonl", ClientRow))
    lines = subprocess.run(["wc", "-l", run / "client.jsonl"], capture_output=True, check=True)
    assert len(client) == figures["all"]["requests"] == int(lines.stdout.split()[0]) > 200
    assert figures["all"]["ok"] == len(client)
    assert {row.name for row in client} == set(figures["names"])
    assert str(len(client)) in (run / "locust.log").read_text(), "Locust counts otherwise"

    ids = {row.id for row in client}
    assert len(ids) == len(client)
    proxy = [row for row in read_rows(run / "proxy.jsonl", ProxyRow) if row.id in ids]
    assert Counter(row.id for row in proxy) == Counter(ids), "a row each, no more and no less"
    assert figures["proxy"] == {"logged": len(client), "moved_on": 0, "unknown": []}
    by_id = {row.id: row for row in client}
    for row in proxy:
        sent = by_id[row.id]
        assert (row.method, row.target, row.key) == (sent.method, sent.target, sent.key)
        assert (row.status, row.instance, row.boot) == (sent.status, sent.instance, sent.boot)

    service = list(read_rows(run / "service.jsonl", ServiceRow))
    begun = {(row.boot, row.n): row for row in service if row.kind == "begin"}
    ended = {(row.boot, row.n): row for row in service if row.kind == "end"}
    assert begun.keys() == ended.keys(), "nothing died, so whatever began has ended"
    executed = Counter(row.id for row in begun.values() if row.id in ids)
    static = {row.id for row in client if row.instance == "proxy"}
    assert executed == Counter(ids - static), "executed once each"
    for execution, began in begun.items():
        if began.id in ids:
            sent = by_id[began.id]
            assert sent.sent <= began.t <= ended[execution].t, "one clock for all observers"
            assert ended[execution].status == sent.status
            assert (ended[execution].effect == "applied") == (sent.effect != "read")

    with closing(sqlite3.connect(stack.home.ledger)) as ledger:
        applied = [one for (one,) in ledger.execute("SELECT request_id FROM effects")]
    writes = [row.id for row in client if row.effect != "read"]
    assert sorted(applied) == sorted(writes)
    assert figures["writes"]["acknowledged"] == len(writes) > 20


def test_the_run_folder_says_how_to_repeat_it(stack: Stack) -> None:
    figures = json.loads(stack.bulkhead("load", "--time", "1", "--users", "2", "--json").stdout)
    run = Path(figures["run"])
    found = json.loads((run / "run.json").read_text())
    assert found["configuration"]["services"]["api"]["instances"] == 4
    assert found["machine"]["nginx"].startswith("nginx/")
    assert found["packages"]["locust"]
    assert found["argv"][1:] == ["load", "--time", "1", "--users", "2", "--json"]
    assert json.loads((run / "summary.json").read_text()) == figures
    assert "Locust" in (run / "locust.html").read_text()


def test_ctrl_c_ends_a_load_and_sums_it_up(stack: Stack) -> None:
    load = start(stack, "--time", "60", "--users", "5")
    assert load.stdout
    for line in load.stdout:
        if "requests/s" in line and not line.split()[2].startswith("0"):
            break
    load.send_signal(signal.SIGINT)
    out, said = load.communicate(timeout=60)
    assert load.returncode == 0, said
    assert "stopping the load" in out
    assert "lost 0 " in out
    assert "failed 0" in out


def test_the_web_ui_opens_and_its_load_is_summed_up(stack: Stack) -> None:
    port = stack.ports[39]
    load = start(stack, "--ui", "--ui-port", str(port))

    def ask(method: str, target: str, body: str = "") -> bytes:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            connection.request(method, target, body, form)
            return connection.getresponse().read()
        except ConnectionRefusedError:
            return b""
        finally:
            connection.close()

    wait_until("the web UI answers", lambda: b"Locust" in ask("GET", "/"))
    assert b"true" in ask("POST", "/swarm", "user_count=5&spawn_rate=5")

    def rows() -> int:
        files = sorted(stack.home.runs.glob("*/client.jsonl"))
        return len(files[-1].read_bytes().splitlines()) if files else 0

    wait_until("requests of the load that the UI started", lambda: rows() > 20)
    load.send_signal(signal.SIGINT)
    out, said = load.communicate(timeout=60)
    assert load.returncode == 0, said
    assert f"http://127.0.0.1:{port}" in out
    assert "failed 0" in out


def test_locust_by_hand_works_too(stack: Stack, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [
            Path(sys.executable).with_name("locust"), "-f", "loadtest/locustfile.py",
            "--headless", "-u", "5", "-r", "5", "-t", "2s", "--host", stack.url,
        ],
        cwd=ROOT,
        env={**os.environ, "BULKHEAD_CLIENT_ROWS": str(rows)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert all(row.status < 400 for row in read_rows(rows, ClientRow))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--users", "0"), "users and time must be above 0"),
        (("--time", "0"), "users and time must be above 0"),
        (("--pace", "-1"), "pace must not be below"),
        (("--shape", "square"), "invalid choice: 'square'"),
        (("--users", "many"), "invalid int value: 'many'"),
    ],
)
def test_bad_words_are_refused(stack: Stack, words: tuple[str, ...], complaint: str) -> None:
    done = stack.bulkhead("load", *words, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr
