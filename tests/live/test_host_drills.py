"""Drills on several hosts, as a user runs them: in namespaces, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bulkhead.errors import StateError
from bulkhead.hosts.containers import Containers
from bulkhead.hosts.netns import ip
from bulkhead.topology.parse import load
from tests.support.spaces import require_namespaces
from tests.support.stack import ROOT

# Longer than what a drill allows itself: whoever is killed in the middle leaves hosts behind.
pytestmark = [pytest.mark.live, pytest.mark.load, pytest.mark.timeout(400)]


def bulkhead(*words: str, tmp: str = "") -> subprocess.CompletedProcess[str]:
    environment = {key: text for key, text in os.environ.items() if key != "BULKHEAD_SET"}
    if tmp:
        environment["TMPDIR"] = tmp
    return subprocess.run(
        [sys.executable, "-m", "bulkhead.cli", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def test_a_drill_breaks_hosts_in_namespaces(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The whole of it: hosts made, broken and taken away, every request accounted for."""
    require_namespaces()
    home, tmp = tmp_path_factory.mktemp("d"), tmp_path_factory.mktemp("t")
    for folder in (tmp, *list(tmp.parents)[:2]):
        folder.chmod(0o755)  # PostgreSQL's own user must get there
    before = made()
    try:
        done = bulkhead("drill", "host-cut", "--json", "--set", f"stack.home={home}", tmp=str(tmp))
    finally:
        bulkhead("down", "--set", f"stack.home={home}")
    (told,) = json.loads(done.stdout)
    assert (told["verdict"], done.returncode) == ("PASS", 0), done.stdout
    assert told["figures"]["confirmed"] == 2
    run = Path(told["run"])
    facts = json.loads((run / "run.json").read_text())
    assert {name.partition(".")[2] for _, name, _ in facts["instances"]} == {"app-1", "app-2"}
    assert {one.name for one in (run / "log").iterdir()} == {"proxy", "app-1", "app-2"}
    (clocks,) = [one for one in told["checks"] if one["name"] == "clocks_agree"]
    assert "hosts' clocks known to" in clocks["figure"]
    assert made() == before
    assert list(tmp.iterdir()) == []


def made() -> set[str]:
    """The namespaces and links of this machine that drills have made."""
    links = {one["ifname"] for one in json.loads(ip("-j", "link"))}
    spaces = set(ip("netns", "list").split())
    return {one for one in links | spaces if one.startswith("bh")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["drill", "host-cut", "--here"], "--here: host-cut is about several hosts of its own"),
        (["drill", "host-cut", "--hosts", "vms"], "--hosts vms: must be namespaces or containers"),
        (["drill", "kill-one", "--hosts", "containers"], "kill-one is about one host"),
        (["load", "--hosts", "vms"], "--hosts vms: must be containers"),
        (["load", "--hosts", "containers", "--ui"], "--ui: not with --hosts"),
    ],
)
def test_what_cannot_be_is_one_line(words: list[str], said: str) -> None:
    done = bulkhead(*words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr


def test_containers_need_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StateError, match="only root can read what the hosts write"):
        Containers(load(Path("stack.toml")), (), tmp_path / "x", 2)


def test_a_load_without_a_stack_in_containers_is_one_line(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can read what containers write")
    environment = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    done = subprocess.run(
        [sys.executable, "-m", "bulkhead.cli", "load", "--hosts", "containers"],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in (4, 6), done.stderr  # no docker, or no engine
    assert "docker" in done.stderr
