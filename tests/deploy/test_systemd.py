"""deploy/systemd/bulkhead.service: systemd reads all of it, it agrees with the topology, and a
stack lives under all that it forbids.
"""

import ctypes.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from bulkhead.testing import free_ports, wait_until
from bulkhead.topology.parse import load
from tests.adopt.proxied import Clients
from tests.deploy.descriptions import ROOT
from tests.deploy.test_drift import stopping_s
from tests.support.trickle import trickle
from tests.support.unit import settings

UNIT = ROOT / "deploy" / "systemd" / "bulkhead.service"
PROGRAM = "/srv/bulkhead/.venv/bin/bulkhead"
RUNNER = ROOT / "tests" / "support" / "unit.py"
USER = 10001


def verify(folder: Path, text: str) -> str:
    """What systemd says of a unit whose checkout is this one; nothing when all of it is right."""
    unit = folder / UNIT.name
    checkout = folder / "checkout"
    checkout.symlink_to(ROOT)  # the unit's own needs no quotes, and neither does this
    unit.write_text(text.replace("/srv/bulkhead", str(checkout)))
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
        ("bin/bulkhead check", "bin/bulkhed check"),
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
    assert found["ExecStartPre"] == f"{PROGRAM} check"
    assert found["ExecStart"] == f"{PROGRAM} serve"


class Service:
    """The unit, as far as its commands go: each in namespaces of its own, under its filters."""

    def __init__(self, unit: Path, state: Path, ports: list[int]) -> None:
        self.unit, self.state, self.port = unit, state, ports[0]
        more = (
            f"proxy.listen=127.0.0.1:{ports[0]} services.api.port={ports[1]} "
            f"services.web.port={ports[21]} services.api.instances=2 services.web.instances=1"
        )
        self.environ = os.environ | {"MORE_SETTINGS": more}

    def command(self, *words: str) -> list[str | Path]:
        """`bulkhead WORDS`; the script's own first line names a path that is not there."""
        sandbox: list[str | Path] = [sys.executable, RUNNER, self.unit, ROOT, self.state, "--"]
        python = f"{Path(PROGRAM).parent}/python"
        return [*sandbox, python, "-m", "bulkhead.cli", *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command, as ExecStop= and the like run it."""
        done = subprocess.run(
            self.command(*words),
            env=self.environ, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
        return done

    def status(self) -> dict[str, Any]:
        """`status --json`, each process under its name; nothing while the stack is not up."""
        said = self.run("status", "--json", check=False).stdout
        return {one["name"]: one for one in json.loads(said)["processes"]} if said else {}

    @contextmanager
    def running(self) -> Iterator[None]:
        """ExecStartPre=, ExecStart=, ExecStartPost=; at the end ExecStop=."""
        self.run("check")
        with (self.state / "journal").open("w") as journal:
            child = subprocess.Popen(
                self.command("serve"),
                env=self.environ, stdout=journal, stderr=journal, start_new_session=True,
            )  # fmt: skip
        try:
            ready = lambda: self.run("status", check=False).returncode == 0  # noqa: E731
            wait_until("all of it is ready", ready, timeout_s=60)
            yield
        finally:
            self.run("down")
            assert child.wait(10) == 0


@pytest.fixture(params=["as it is", "without pidfd_getfd"])
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The unit, and one of an earlier version or of another system's filter."""
    if os.geteuid():
        pytest.skip("only root can make the unit's namespaces")
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze on this machine, which knows the sets of system calls")
    if not ctypes.util.find_library("seccomp"):
        pytest.skip("no libseccomp on this machine")
    if not (ROOT / ".venv/bin/python").exists():
        pytest.skip(f"no .venv in {ROOT}, which the unit's commands are in")
    text, words = UNIT.read_text(), "@system-service pidfd_getfd"
    assert words in text
    unit, state = tmp_path / UNIT.name, tmp_path / "state"
    unit.write_text(text if request.param == "as it is" else text.replace(words, words[:15]))
    state.mkdir(mode=0o700)
    os.chown(state, USER, USER)
    with free_ports() as ports:
        yield Service(unit, state, ports)


@pytest.mark.live
def test_under_all_that_the_unit_forbids_nobody_is_refused(service: Service) -> None:
    def strangers() -> HTTPConnection:
        return HTTPConnection("127.0.0.1", service.port, timeout=10)

    with (
        service.running(),
        trickle(f"http://127.0.0.1:{service.port}") as load,
        Clients(strangers).running() as clients,
    ):
        service.run("upgrade", "nginx")
        old = service.status()["nginx"]["pid"]
        os.kill(old, signal.SIGKILL)
        wait_until("another leads", lambda: service.status()["nginx"]["pid"] not in (None, old), 30)
        clients.wait_for(50)
        service.run("roll", "api")
        service.run("reload")
    assert clients.failures == []
    assert load.failures == []
    may = "pidfd_getfd" in settings(service.unit.read_text())["SystemCallFilter"]
    assert ("pidfd_getfd(2) is not permitted" in (service.state / "journal").read_text()) != may
    assert ("has sent its 2 sockets" in (service.state / "log/nginx.log").read_text()) != may
