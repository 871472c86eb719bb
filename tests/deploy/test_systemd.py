"""deploy/systemd/bulkhead.service: systemd reads all of it, and it agrees with the topology."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bulkhead.topology.load import load
from tests.deploy.descriptions import ROOT
from tests.deploy.test_drift import stopping_s

UNIT = ROOT / "deploy" / "systemd" / "bulkhead.service"


def settings(text: str) -> dict[str, str]:
    """Every `Key=value` of the unit."""
    return dict(re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE))


def verify(folder: Path, text: str) -> str:
    """What systemd says of a unit whose checkout is this one; nothing when all of it is right."""
    unit = folder / UNIT.name
    unit.write_text(text.replace("/srv/bulkhead", str(ROOT)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert (done.returncode == 0) == (said == ""), said
    return said


@pytest.fixture
def systemd() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze on this machine: it is in the package systemd")


@pytest.mark.usefixtures("systemd")
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    assert verify(tmp_path, UNIT.read_text()) == ""


@pytest.mark.usefixtures("systemd")
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("KillMode=mixed", "KillMode=gentle"),
        ("RestartSec=", "RestartSeconds="),
        ("bin/bulkhead serve", "bin/bulkhed serve"),
    ],
)
def test_a_mistake_is_found(tmp_path: Path, right: str, wrong: str) -> None:
    """The test above can fail."""
    text = UNIT.read_text()
    assert right in text
    assert verify(tmp_path, text.replace(right, wrong)) != ""


def test_it_agrees_with_the_topology() -> None:
    found = settings(UNIT.read_text())
    name, _, value = found["Environment"].strip('"').partition("=")
    assert name == "BULKHEAD_SET"
    topology = load(ROOT / "stack.toml", value.split())  # names of sockets are not too long there
    assert str(topology.home) == f"/var/lib/{found['StateDirectory']}"
    assert stopping_s(topology) < float(found["TimeoutStopSec"])
    assert max(one.boot_s for one in topology.services.values()) < float(found["TimeoutStartSec"])
    assert found["WorkingDirectory"] == "/srv/bulkhead"
