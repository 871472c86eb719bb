"""deploy/swarm.yml on a real engine: updates that go through or are taken back, under load.

The swarm is one that this module makes, on loopback, and leaves. Skipped, with the reason, where no
engine answers, where it is in a swarm already, or where no base image is to be had.
"""

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator

import pytest

from bulkhead.testing import free_ports, wait_until
from tests.deploy.test_compose import ROOT, Load, account, docker

# An image takes 90 s the first time, and the engine watches each new host for a while.
pytestmark = [pytest.mark.live, pytest.mark.load, pytest.mark.timeout(600)]

BRIDGE = "docker_gwbridge"
# What makes an image that cannot serve, and what the engine says of its tasks.
BAD = {
    "it exits at once": ("rm .venv/bin/bulkhead", "non-zero exit"),
    "it is never healthy": ("rm services/api/app.py", "unhealthy container"),
}


class Swarm:
    """The services of one stack."""

    def __init__(self, port: int) -> None:
        self.name = f"test{secrets.token_hex(4)}"
        self.port = port
        self.environ = os.environ | {"BULKHEAD_STACK": self.name, "BULKHEAD_PORT": str(port)}

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """deploy/swarm with these words."""
        done = subprocess.run(
            ["deploy/swarm", *words],
            cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=590, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done

    def containers(self, service: str, *words: str) -> set[str]:
        """Those of one service that run, by the short id that is also their host name."""
        wanted = f"label=com.docker.swarm.service.name={self.name}_{service}"
        return set(docker("ps", "-q", *words, "--filter", wanted).split())

    def volumes(self) -> set[str]:
        """The ledger's, and the home of every host that has not been removed yet."""
        label = f"label=com.docker.stack.namespace={self.name}"
        found = docker("ps", "-aq", "--filter", label).split()
        form = "{{range .Mounts}}{{.Name}} {{end}}"
        homes = docker("inspect", "--format", form, *found).split() if found else []
        return {*homes, f"{self.name}_database"}

    def image(self) -> str:
        """What the application hosts are to run now."""
        form = "{{.Spec.TaskTemplate.ContainerSpec.Image}}"
        return docker("service", "inspect", f"{self.name}_app", "--format", form)

    def sql(self, query: str) -> list[str]:
        """The rows of a query on the ledger."""
        (database,) = self.containers("database")
        words = ["psql", "-qAt", "-h", "/tmp", "-U", "bulkhead", "-d", "bulkhead", "-c", query]
        return docker("exec", database, *words).splitlines()


@pytest.fixture(scope="module")
def swarm() -> Iterator[None]:
    """This engine is a swarm of one, meanwhile."""
    if not shutil.which("docker") or not docker("info", "--format", "{{.ID}}", check=False):
        pytest.skip("no Docker engine answers: start one, or set DOCKER_HOST")
    if not docker("image", "inspect", "debian:bookworm-slim", check=False):
        pytest.skip("no image debian:bookworm-slim: deploy/base-image makes one")
    if docker("info", "--format", "{{.Swarm.LocalNodeState}}") != "inactive":
        pytest.skip("this engine is in a swarm: a test must not use somebody's")
    if docker("network", "ls", "-q", "--filter", f"name={BRIDGE}"):
        pytest.skip(f"an earlier swarm has left {BRIDGE}: docker network rm {BRIDGE}")
    refused = Swarm(1).run("up", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (5, 1)
    assert "in no swarm: deploy/swarm init" in refused.stderr
    Swarm(1).run("init")
    try:
        yield
    finally:
        docker("swarm", "leave", "--force")
        docker("network", "rm", BRIDGE, check=False)


@pytest.fixture(scope="module")
def stack(swarm: None) -> Iterator[Swarm]:  # noqa: ARG001 - the engine must be one meanwhile
    """A proxy, two application hosts, a database."""
    homes: set[str] = set()
    with free_ports() as ports:
        stack = Swarm(ports[0])
        try:
            stack.run("up")
            yield stack
        finally:
            homes = stack.volumes()
            stack.run("clean", check=False)
        label = f"label=com.docker.stack.namespace={stack.name}"
        for kind in ("container", "network", "secret", "service"):
            words = ["-a"] if kind == "container" else []
            assert docker(kind, "ls", "-q", *words, "--filter", label) == "", f"a {kind} is left"
        assert not homes & set(docker("volume", "ls", "-q").split()), "a volume is left"


@pytest.fixture
def load(stack: Swarm) -> Iterator[Load]:
    """Under load; at its end nothing has failed, nothing is lost, nothing was done twice."""
    load = Load(stack.port)
    try:
        load.uses(2)
        yield load
        load.more()
    finally:
        load.finish()
    account(load, stack.sql)


def derived(stack: Swarm, script: str) -> str:
    """An image that is the stack's, but for what a script does to it."""
    base, name = stack.image(), f"bulkhead-host:{secrets.token_hex(6)}"
    recipe = f"FROM {base}\nUSER root\nRUN {script}\nUSER bulkhead\n"
    subprocess.run(
        ["docker", "build", "-q", "-t", name, "-"],
        input=recipe, text=True, capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    return name


def times(container: str) -> tuple[str, str, str]:
    """The slot of a task, and when its container began and ended; the later one is the greater."""
    found = json.loads(docker("inspect", container))[0]
    slot = found["Config"]["Labels"]["com.docker.swarm.task.name"].split(".")[1]
    return slot, found["State"]["StartedAt"], found["State"]["FinishedAt"]


def test_an_update_replaces_every_host_and_nobody_notices(stack: Swarm, load: Load) -> None:
    before, image = stack.containers("app"), derived(stack, "true")
    began = time.monotonic()
    try:
        stack.run("update", image)
        print(f"updated in {time.monotonic() - began:.1f} s")
        load.uses(2)
        after = stack.containers("app")
        assert set(load.hosts) == after
        assert not after & before
        assert stack.image() == image
        started = {slot: began for slot, began, _ in map(times, after)}
        for slot, _, ended in map(times, before):
            assert started[slot] < ended, "an old host had gone before the new one came"
        assert "already" in stack.run("update", image).stdout
    finally:
        docker("image", "rm", "--no-prune", image, check=False)


@pytest.mark.usefixtures("load")
@pytest.mark.parametrize("what", BAD)
def test_a_bad_image_is_taken_back_and_nobody_notices(stack: Swarm, what: str) -> None:
    script, reason = BAD[what]
    before, good, bad = stack.containers("app"), stack.image(), derived(stack, script)
    began = time.monotonic()
    try:
        done = stack.run("update", bad, check=False)
        print(f"{what}: taken back in {time.monotonic() - began:.1f} s")
        assert (done.returncode, done.stderr.count("\n")) == (6, 1)
        assert f"has taken the update of {stack.name}_app back: {bad}" in done.stderr
        assert reason in done.stderr
        assert stack.image() == good
        # They have never been away.
        assert stack.containers("app") == before
    finally:
        docker("image", "rm", "--force", bad, check=False)


def test_a_host_that_leaves_finishes_what_it_has(stack: Swarm, load: Load) -> None:
    """SIGTERM, and each instance finishes what it has; 137 would be SIGKILL (deploy/swarm-host)."""
    before = stack.containers("app")
    docker("service", "scale", "--detach", f"{stack.name}_app=1")
    wait_until("one host is left", lambda: len(stack.containers("app")) == 1, 60, 0.2)
    (gone,) = before - stack.containers("app")
    assert docker("inspect", "--format", "{{.State.ExitCode}}", gone) == "143"
    load.more()
    docker("service", "scale", "--detach", f"{stack.name}_app=2")
    load.uses(2)


def test_nobody_is_root_and_the_port_is_on_loopback(stack: Swarm) -> None:
    for service in ("proxy", "app", "database"):
        for host in stack.containers(service):
            assert docker("exec", host, "id", "-u") != "0"
            script = "{ touch /srv/x || touch /usr/x || touch /x; } 2>/dev/null && echo written"
            assert docker("exec", host, "sh", "-c", script, check=False) == ""
            form = "{{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}}"
            assert docker("inspect", "--format", form, host) == "[ALL] true"
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    bound = {line.split()[3] for line in listening.splitlines()}
    assert {one for one in bound if one.endswith(f":{stack.port}")} == {f"127.0.0.1:{stack.port}"}


def test_every_mistake_is_one_clear_line(stack: Swarm) -> None:
    other = Swarm(stack.port)
    for words, code, said in (
        (["up"], 5, f"somebody listens on 127.0.0.1:{stack.port}"),
        (["update", "x"], 5, f"the stack {other.name} is not up"),
        (["init"], 5, "this engine is in a swarm already"),
        (["shake"], 2, "shake: must be init, up, update, status, down or clean"),
    ):
        refused = other.run(*words, check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (code, 1), refused.stderr
        assert said in refused.stderr
    for words, said in (
        (["update"], "update needs an image"),
        (["update", "x"], "x: no such image"),
    ):
        refused = stack.run(*words, check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert said in refused.stderr


def test_without_an_engine_it_is_one_clear_line() -> None:
    if not shutil.which("docker"):
        pytest.skip("no docker on this machine")
    other = Swarm(1)
    other.environ["DOCKER_HOST"] = "unix:///nowhere/none.sock"
    refused = other.run("up", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1)
    assert "no engine answers" in refused.stderr
