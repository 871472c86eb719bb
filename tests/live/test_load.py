"""`bulkhead load` against the real services, checked with other eyes than its own."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from bulkhead.records import ClientRow, ProxyRow, ServiceRow, read_rows
from bulkhead.testing import wait_until
from tests.support import databases
from tests.support.stack import ROOT, Stack, new_stack

pytestmark = [pytest.mark.live, pytest.mark.load]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Not up yet: the first load brings it up."""
    with new_stack(tmp_path_factory.mktemp("load") / "home") as made:
        yield made


def start(stack: Stack, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "bulkhead.cli", "load", *words],
        cwd=ROOT,
        env={**os.environ, "BULKHEAD_SET": " ".join(stack.settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def effects(stack: Stack) -> list[str]:
    """The request ids of all writes that the ledger has applied, in that order."""
    if not stack.home.ledger.exists():
        return []
    with closing(sqlite3.connect(stack.home.ledger)) as ledger:
        return [one for (one,) in ledger.execute("SELECT request_id FROM effects ORDER BY seq")]


def wait_for_requests(load: subprocess.Popen[str]) -> None:
    """Read what the load says until it has said that requests have ended."""
    assert load.stdout
    for line in load.stdout:
        if "requests/s" in line and not line.split()[2].startswith("0"):
            return
    raise AssertionError("it ended before any request")


def processes(load: subprocess.Popen[str], option: str = "locust") -> list[psutil.Process]:
    """Locust's processes that have this word on their command line."""
    children = psutil.Process(load.pid).children()
    return [child for child in children if option in child.cmdline()]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_observer_tells_the_same_story(stack: Stack, workers: int) -> None:
    """Client rows, proxy rows, service rows, the ledger, Locust and wc must agree on one load."""
    before = len(effects(stack))
    words = ("--time", "3", "--users", "20", "--pace", "0.5", "--workers", str(workers))
    load = stack.bulkhead("load", *words, "--json")
    figures = json.loads(load.stdout)
    run = Path(figures["run"])
    client = list(read_rows(run / "client.jsonl", ClientRow))
    lines = subprocess.run(["wc", "-l", run / "client.jsonl"], capture_output=True, check=True)
    assert len(client) == figures["all"]["requests"] == int(lines.stdout.split()[0]) > 200
    assert figures["all"]["answered"] == len(client)
    assert {row.name for row in client} == set(figures["names"])
    assert str(len(client)) in (run / "locust.log").read_text(), "Locust counts otherwise"

    ids = {row.id for row in client}
    assert len(ids) == len(client)
    proxy = [row for row in read_rows(run / "proxy.jsonl", ProxyRow) if row.id in ids]
    assert Counter(row.id for row in proxy) == Counter(ids), "a row each, no more and no less"
    assert figures["proxy"] == {"logged": len(client), "retried": 0, "unknown": []}
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

    applied = effects(stack)[before:]
    writes = [row.id for row in client if row.effect != "read"]
    assert sorted(applied) == sorted(writes)
    assert figures["writes"]["acknowledged"] == len(writes) > 20

    keys = [row.key for row in client if row.key]
    assert len(set(keys)) == len(keys)
    assert [row.done for row in client] == sorted(row.done for row in client) or workers == 1
    assert list(run.glob("client*")) == [run / "client.jsonl"], "no rows are left anywhere else"
    logs = {f"locust-{worker}.log" for worker in range(workers)} if workers > 1 else set()
    assert {path.name for path in run.glob("locust-*.log")} == logs


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


@pytest.mark.parametrize("workers", ["1", "3"])
def test_ctrl_c_ends_a_load_and_sums_it_up(stack: Stack, workers: str) -> None:
    load = start(stack, "--time", "60", "--users", "5", "--workers", workers)
    wait_for_requests(load)
    children = processes(load)
    load.send_signal(signal.SIGINT)
    out, said = load.communicate(timeout=60)
    assert load.returncode == 0, said
    assert "stopping the load" in out
    assert "lost 0 " in out
    assert "failed 0" in out
    assert len(children) == {"1": 1, "3": 4}[workers]
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--worker", "worker 0 of the load (pid {pid}) was killed by SIGKILL: rows are missing"),
        ("--master", "the load's master was killed by SIGKILL"),
    ],
)
def test_a_load_that_loses_a_process_says_so_in_one_line(
    stack: Stack, option: str, line: str
) -> None:
    load = start(stack, "--time", "60", "--users", "6", "--workers", "3")
    wait_for_requests(load)
    children = processes(load)
    killed = min(processes(load, option), key=lambda child: child.pid)
    killed.kill()
    out, said = load.communicate(timeout=60)
    assert load.returncode == 7, said
    assert said.splitlines() == [
        f"bulkhead: {line.format(pid=killed.pid)}, so nothing can be said; see {last_run(stack)}"
    ]
    assert "latency in ms" not in out, "no figure of rows that are not whole"
    assert not any(child.is_running() for child in children)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_the_load_itself_runs_out_of_is_not_the_stacks_failure(
    stack: Stack, workers: str
) -> None:
    stack.bulkhead("up")
    words = ("--time", "60", "--users", "300", "--workers", workers, "--pace", "0.1")
    load = start(stack, *words, prefix=("prlimit", "--nofile=100:100"))
    out, said = load.communicate(timeout=60)
    assert load.returncode == 7, said
    assert said.count("\n") == 1
    assert said.startswith(
        "bulkhead: Too many open files: the load generator may open 100 files; raise the limit "
        "(ulimit -Hn), or ask for fewer users: "
    )
    assert said.endswith(f"which says nothing about the stack; see {last_run(stack)}\n")
    assert "the load generator has run out of something; stopping the load" in out
    assert all(" 0 failed" in line for line in out.splitlines() if "requests/s" in line)


def last_run(stack: Stack) -> Path:
    return max(stack.home.runs.iterdir(), key=lambda path: path.stat().st_ctime)


def test_nothing_of_a_load_outlives_the_command(stack: Stack) -> None:
    """Killed, it can end nobody: each process ends by itself, in an orderly way."""
    load = start(stack, "--time", "60", "--users", "6", "--workers", "2")
    wait_for_requests(load)
    children = processes(load)
    assert len(children) == 3
    load.kill()
    load.communicate(timeout=60)
    wait_until("their ends", lambda: not any(child.is_running() for child in children), 30)
    run = last_run(stack)
    for worker in (0, 1):
        rows = list(read_rows(run / f"client-{worker}.jsonl", ClientRow))
        end = json.loads((run / f"client-{worker}.jsonl.end").read_text())
        assert end["rows"] == len(rows)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_web_ui_opens_and_its_load_is_summed_up(stack: Stack, workers: str) -> None:
    port = stack.ports[39]
    load = start(stack, "--ui", "--ui-port", str(port), "--workers", workers)

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

    def connected() -> int:
        count: int = json.loads(ask("GET", "/worker-count"))["worker_count"]
        return count

    wait_until("the web UI answers", lambda: b"Locust" in ask("GET", "/"))
    if workers != "1":
        wait_until("both workers", lambda: connected() == 2, 30)
    assert b"true" in ask("POST", "/swarm", "user_count=5&spawn_rate=5")

    def rows() -> int:
        files = last_run(stack).glob("client*.jsonl")
        return sum(len(path.read_bytes().splitlines()) for path in files)

    wait_until("requests of the load that the UI started", lambda: rows() > 20)
    load.send_signal(signal.SIGINT)
    out, said = load.communicate(timeout=60)
    assert load.returncode == 0, said
    assert f"http://127.0.0.1:{port}" in out
    assert "failed 0" in out


def test_a_taken_port_of_the_web_ui_is_named_with_its_owner(stack: Stack) -> None:
    with socket.create_server(("0.0.0.0", stack.ports[39])):
        words = ("--ui", "--ui-port", str(stack.ports[39]))
        refused = stack.bulkhead("load", *words, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (5, 1)
    asked = f"bulkhead: load: --ui-port {stack.ports[39]}: pid {os.getpid()} "
    said = re.escape(asked) + r"\(.*\) listens there already; stop that, or choose another port"
    assert re.match(said, refused.stderr)
    own = stack.bulkhead("load", "--ui", "--ui-port", str(stack.ports[0]), check=False)
    assert "(nginx) listens there already" in own.stderr


def test_locust_by_hand_works_too(stack: Stack, tmp_path: Path) -> None:
    rows, settings = tmp_path / "rows.jsonl", tmp_path / "settings.json"
    settings.write_text(json.dumps({"rows": str(rows)}))
    done = subprocess.run(
        [
            Path(sys.executable).with_name("locust"), "-f", "loadtest/locustfile.py",
            "--headless", "-u", "5", "-r", "5", "-t", "2s", "--host", stack.url,
        ],
        cwd=ROOT,
        env={**os.environ, "BULKHEAD_LOAD_SETTINGS": str(settings)},
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
        (("--users", "0"), "load: --users 0: must be from 1 to 100,000"),
        (("--time", "0"), "load: --time 0: must be from 1 to 86,400"),
        (("--pace", "-1"), "load: --pace -1.0: must be from 0 to 1,000"),
        (("--shape", "square"), "invalid choice: 'square'"),
        (("--users", "many"), "invalid int value: 'many'"),
        (("--workers", "0"), "load: --workers 0: must be from 1 to 16: "),
        (("--workers", "17", "--users", "50"), "load: --workers 17: must be from 1 to 16: "),
        (
            ("--workers", "3", "--users", "2"),
            "--workers 3: must be from 1 to 2: at most 16, and at most one for each of 2 users",
        ),
        (("--workers", "x"), "argument --workers: invalid int value: 'x'"),
    ],
)
def test_bad_words_are_refused(stack: Stack, words: tuple[str, ...], complaint: str) -> None:
    done = stack.bulkhead("load", *words, check=False)
    assert done.returncode == 2
    assert complaint in done.stderr


@pytest.mark.parametrize("kind", databases.KINDS)
def test_a_load_on_a_database_server_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """What the server has applied, asked of it by another program, is what clients were told."""
    with databases.running(kind) as server:
        server.sql("CREATE DATABASE ledger")
        settings = [f"stack.{name}={text}" for name, text in server.settings("ledger").items()]
        with new_stack(tmp_path_factory.mktemp("s") / "home", settings) as stack:
            load = stack.bulkhead("load", "--time", "3", "--users", "8", "--json")
            told = json.loads(load.stdout)["writes"]
            assert told["acknowledged"] == told["applied"] > 0
            assert told["applied"] == len(server.sql("SELECT seq FROM effects", database="ledger"))
            assert (told["lost"], told["doubled"]) == ([], [])
            server.kill()
            broken = stack.bulkhead("load", "--time", "1", "--users", "1", check=False)
            assert (broken.returncode, broken.stderr.count("\n")) == (7, 1), broken.stderr
            assert "the ledger cannot be read" in broken.stderr
