"""The export of a server's ledger: every effect behind a number, and what became of its entries."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.api.conftest import running_fleet
from tests.services.api.processes import ROOT
from tests.support import databases
from tests.support.databases import Server

pytestmark = pytest.mark.live


@pytest.fixture(scope="module", params=databases.KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with databases.running(request.param) as server:
        yield server


def export(settings: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    where = [settings["ledger_url"], settings["ledger_password_file"]]
    return subprocess.run(
        [sys.executable, "-m", "services.api.ledger.export", *where, *words],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def exported(settings: dict[str, str], *words: str) -> list[dict[str, Any]]:
    done = export(settings, *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_effects_and_the_entries_that_they_touched(server: Server, tmp_path: Path) -> None:
    server.sql("CREATE DATABASE exported")
    settings = server.settings("exported")
    assert exported(settings) == [{"last": 0}]
    assert exported(settings, "--after", "0") == [{"effects": 0, "entries": 0}]
    with running_fleet(tmp_path, server) as fleet:
        api = fleet.launch(0, **settings).wait_ready()
        before = api.add("before").json()["id"]
        (last,) = exported(settings)
        kept = api.add("kept", X_Request_ID="the-first-one", Idempotency_Key="k").json()["id"]
        gone = api.add("gone").json()["id"]
        assert api.request("DELETE", f"/api/v1/entries/{gone}").status == 204
        changed = api.request("PATCH", f"/api/v1/entries/{before}", {"memo": "m"})
        assert changed.status == 200
    *found, end = exported(settings, "--after", str(last["last"]))
    effects = [one["effect"] for one in found if "effect" in one]
    assert [(one["op"], one["entry_id"], one["version"]) for one in effects] == [
        ("create", kept, 1),
        ("create", gone, 1),
        ("delete", gone, 2),
        ("change", before, 2),
    ]
    assert effects[0]["request_id"] == "the-first-one"
    assert [one["key"] for one in effects] == ["k", None, None, None]
    entries = {str(one["entry"]["id"]): one["entry"] for one in found if "entry" in one}
    held = {id_: (one["version"], one["deleted"]) for id_, one in entries.items()}
    assert held == {kept: (1, False), gone: (2, True), before: (2, False)}
    assert end == {"effects": 4, "entries": 3}


def test_a_server_that_cannot_be_asked_is_one_line(server: Server) -> None:
    settings = server.settings("there_is_no_such_database")
    done = export(settings)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "there_is_no_such_database" in done.stderr
