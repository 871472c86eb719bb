"""The OpenAPI document is true: schemathesis checks a real instance against it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.api.processes import Api, Fleet
from tests.services.api.web_stub import web

pytestmark = pytest.mark.live

HERE = Path(__file__).parent


def test_schemathesis_finds_nothing(fleet: Fleet, tmp_path: Path) -> None:
    with web() as proxy_url:
        api = fleet.start(proxy_url=proxy_url)
        run = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                *("--config-file", HERE / "schemathesis.toml"),
                *("run", f"{api.url}/api/v1/openapi.json", "--no-color"),
            ],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "schemathesis_hooks.py")},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅  {phase}" in run.stdout, run.stdout
    assert "21 selected / 21 total" in run.stdout


def test_the_document_describes_every_resource(api: Api) -> None:
    """Each path of the document answers, and no public route is missing from it."""
    document = api.get("/api/v1/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {
        "/api/v1/whoami",
        "/api/v1/work",
        "/api/v1/fanout",
        "/api/v1/openapi.json",
        "/api/v1/entries",
        "/api/v1/entries/{id}",
    }
    for path, operations in document["paths"].items():
        allow = api.request("OPTIONS", path.replace("{id}", "e")).headers["Allow"]
        described = {method.upper() for method in operations} - {"PARAMETERS"}
        assert set(allow.split(", ")) == described, path
