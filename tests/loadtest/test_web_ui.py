"""The locustfile in Locust's own web interface, as `locust -f loadtest/locustfile.py` opens it."""

import json
import signal
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

import pytest

from bulkhead.testing import free_ports, wait_until
from tests.loadtest import running
from tests.loadtest.stub import serving
from tests.support.http import request

pytestmark = pytest.mark.live


def test_a_test_is_started_watched_and_stopped_in_the_web_ui(tmp_path: Path) -> None:
    rows_file = tmp_path / "client.jsonl"
    with serving() as stub, free_ports() as ports:
        ui = f"http://127.0.0.1:{ports[0]}"
        arguments = ("--web-host", "127.0.0.1", "--web-port", str(ports[0]), "--class-picker")
        asked = {"proxy_url": stub.url}
        with running.started(
            running.LOCUSTFILE, *arguments, rows=rows_file, settings=asked
        ) as load:
            page = wait_until("the page", lambda: fetch(ui), 15)
            assert all(word in page for word in (stub.url, "Browser", "Reader", "Writer"))
            form = {"user_count": 2, "spawn_rate": 2, "host": stub.url, "user_classes": "Reader"}
            assert json.loads(fetch(ui, "/swarm", form))["success"]
            wait_until("ten requests", lambda: len(stub.ids) >= 10)
            assert json.loads(fetch(ui, "/stop", {}))["success"]
            figures = json.loads(fetch(ui, "/stats/requests"))
            load.process.send_signal(signal.SIGTERM)
            assert load.end() == 0, load.log
    rows = running.client_rows(rows_file)
    assert Counter(stub.ids) == Counter(row.id for row in rows)
    assert figures["stats"][-1]["num_requests"] == len(rows)
    assert {row.name.partition("/api/v1/")[1] for row in rows} == {"/api/v1/"}
    assert f"client rows: {len(rows)} in" in load.log


def fetch(url: str, target: str = "/", form: dict[str, object] | None = None) -> str:
    """The body, of a POST when there is a form; "" while no one listens yet."""
    method, body = ("GET", None) if form is None else ("POST", urlencode(form).encode())
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    try:
        answer = request(url, method, target, body, headers)
    except ConnectionRefusedError:
        return ""
    return answer.body.decode()
