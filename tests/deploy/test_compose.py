"""docker-compose.yml on a real engine: hosts are killed, frozen, cut off, added, under load.

By either compose. Skipped, with the reason, where one is not installed, no engine answers, or no
base image is to be had.
"""

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event
from typing import IO

import pytest

from bulkhead.records import ClientRow, ProxyRow, read_rows
from bulkhead.rundir import RunDir
from bulkhead.testing import free_ports, wait_until

# Images take minutes the first time; whoever is killed in the middle leaves containers behind.
pytestmark = [pytest.mark.live, pytest.mark.load, pytest.mark.timeout(1000)]

ROOT = Path(__file__).parents[2]
CLIENTS = 8
TIMEOUT_S = 25
# The longest that the topology lets nginx wait for a host that says nothing (services.*.timeout_s).
SILENT_S = 10
HELD_S = 4  # longer than it takes to find out that a host is silent


def docker(*words: str, check: bool = True) -> str:
    """Run docker; what it printed."""
    done = subprocess.run(
        ["docker", *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip() if done.returncode == 0 else ""


class Compose:
    """The containers of one project."""

    def __init__(self, folder: Path, port: int, command: str) -> None:
        self.name = f"test{secrets.token_hex(4)}"
        self.port = port
        self.command = command
        self.environ = os.environ | {
            "BULKHEAD_COMPOSE": command,
            "COMPOSE_PROJECT_NAME": self.name,
            "BULKHEAD_SECRETS": str(folder / "secrets"),
            "BULKHEAD_PORT": str(port),
        }

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """deploy/compose with these words."""
        done = subprocess.run(
            ["deploy/compose", *words],
            cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done

    def containers(self, service: str) -> list[str]:
        """Those of one service, by their names."""
        label = f"label=com.docker.compose.project={self.name}"
        wanted = f"label=com.docker.compose.service={service}"
        form = "{{.Names}}"
        found = docker("ps", "-a", "--filter", label, "--filter", wanted, "--format", form)
        return sorted(found.split())

    def homes(self) -> set[str]:
        """The volumes in which its hosts write."""
        label = f"label=com.docker.compose.project={self.name}"
        found = docker("ps", "-aq", "--filter", label).split()
        form = '{{range .Mounts}}{{if eq .Destination "/var/lib/bulkhead"}}{{.Name}} {{end}}{{end}}'
        return set(docker("inspect", "--format", form, *found).split()) if found else set()

    def sql(self, query: str) -> list[str]:
        """The rows of a query on the ledger."""
        (database,) = self.containers("database")
        words = ["psql", "-qAt", "-h", "/tmp", "-U", "bulkhead", "-d", "bulkhead", "-c", query]
        return docker("exec", database, *words).splitlines()


@pytest.fixture(scope="module", params=["docker-compose", "docker compose"])
def stack(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Compose]:
    """A proxy, two application hosts, a database."""
    command: str = request.param
    if not shutil.which("docker") or not docker("info", "--format", "{{.ID}}", check=False):
        pytest.skip("no Docker engine answers: start one, or set DOCKER_HOST")
    if not docker("image", "inspect", "debian:bookworm-slim", check=False):
        pytest.skip("no image debian:bookworm-slim: deploy/base-image makes one")
    if not works(command):
        pytest.skip(f"{command} is not installed")
    with free_ports() as ports:
        stack = Compose(tmp_path_factory.mktemp("compose"), ports[0], command)
        homes: set[str] = set()
        try:
            stack.run("up", "--scale", "app=2")
            yield stack
        finally:
            homes = stack.homes()
            stack.run("clean", check=False)
        assert not homes & set(docker("volume", "ls", "-q").split()), "a host's volume is left"
        label = f"label=com.docker.compose.project={stack.name}"
        for kind in ("container", "network", "volume"):
            assert docker(kind, "ls", "-q", "--filter", label) == "", f"a {kind} is left"


def works(command: str) -> bool:
    """Whether there is this compose."""
    try:
        done = subprocess.run([*command.split(), "version"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


class Load:
    """Clients that write under a key each, one write after the other, and never twice."""

    def __init__(self, port: int) -> None:
        self.acknowledged: dict[str, str] = {}
        self.failures: list[tuple[str, str]] = []
        self.hosts: Counter[str] = Counter()
        self.longest_s = 0.0
        self._port = port
        self._end = Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._all = [self._pool.submit(self._client) for _ in range(CLIENTS)]

    def _client(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        body = json.dumps({"account": "compose", "amount": 1})
        while not self._end.is_set():
            key, began = uuid.uuid4().hex, time.monotonic()
            headers = {"Content-Type": "application/json", "Idempotency-Key": key}
            try:
                connection.request("POST", "/api/v1/entries", body, headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status == 201:
                    self.acknowledged[key] = json.loads(text)["id"]
                    self.hosts[answer.headers["X-Instance"].rpartition(".")[2]] += 1
                else:
                    self.failures.append((key, f"{answer.status} {text[:200]!r}"))
            except (OSError, HTTPException) as error:
                connection.close()
                self.failures.append((key, repr(error)))
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            time.sleep(0.02)
        connection.close()

    def more(self, number: int = 50) -> None:
        """Wait until so many more are acknowledged."""
        before = len(self.acknowledged)
        wait_until("writes go on", lambda: len(self.acknowledged) > before + number, 60)

    def uses(self, number: int) -> None:
        """Wait until so many hosts have answered from now on."""
        self.hosts.clear()
        wait_until(f"{number} hosts answer", lambda: len(self.hosts) == number, 60)

    def finish(self) -> None:
        """Let each client finish what it has begun."""
        self._end.set()
        for one in self._all:
            one.result(TIMEOUT_S + 5)
        self._pool.shutdown()


@pytest.fixture
def load(stack: Compose) -> Iterator[Load]:
    """Under load; at its end nothing has failed, nothing is lost, nothing was done twice."""
    load = Load(stack.port)
    try:
        load.uses(2)
        yield load
        load.more()
    finally:
        load.finish()
    account(load, stack.sql)


def account(load: Load, sql: Callable[[str], list[str]]) -> None:
    """Every write of a load that has ended was answered, is in the ledger, and is there once."""
    print(f"{len(load.acknowledged)} writes, {len(load.failures)} failed, {load.longest_s:.2f} s")
    assert load.failures == []
    found = dict(row.split("|") for row in sql("SELECT key, entry_id FROM effects WHERE key <> ''"))
    lost = {key for key, entry in load.acknowledged.items() if found.get(key) != entry}
    assert lost == set()
    assert sql("SELECT key FROM effects GROUP BY key HAVING count(*) > 1") == []


def meanwhile(load: Load, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Something happens to a host, writes go on without it, and it is undone."""
    begin()
    try:
        time.sleep(HELD_S)
        load.more()
    finally:
        end()


def test_an_application_host_is_killed_and_started(stack: Compose, load: Load) -> None:
    host = stack.containers("app")[0]
    meanwhile(load, lambda: docker("kill", host), lambda: docker("start", host))
    load.uses(2)


def test_an_application_host_is_frozen(stack: Compose, load: Load) -> None:
    """What is on its way there waits for `timeout_s`, and then goes elsewhere."""
    host = stack.containers("app")[0]
    meanwhile(load, lambda: freeze(host), lambda: docker("unpause", host))
    load.uses(2)
    assert load.longest_s < SILENT_S + 3


def freeze(host: str) -> None:
    """`docker pause`; runc cannot freeze a container in which a health check is just starting."""

    def frozen() -> bool:
        docker("pause", host, check=False)
        return docker("inspect", "--format", "{{.State.Paused}}", host) == "true"

    wait_until("the container is frozen", frozen, 20, 0.5)


def test_an_application_host_is_cut_off(stack: Compose, load: Load) -> None:
    """Silence without a reset, and then an address that may be another one."""
    host, network = stack.containers("app")[0], f"{stack.name}_default"
    meanwhile(
        load,
        lambda: docker("network", "disconnect", network, host),
        lambda: docker("network", "connect", network, host),
    )
    load.uses(2)


def test_the_databases_host_is_killed_and_started(stack: Compose, load: Load) -> None:
    (host,) = stack.containers("database")
    docker("kill", host)
    docker("start", host)
    load.more()


def test_more_application_hosts_are_found_by_themselves(stack: Compose, load: Load) -> None:
    stack.run("up", "--scale", "app=3")
    load.uses(3)
    stack.run("up", "--scale", "app=2")
    load.more()


def test_hosts_that_are_made_anew_leave_no_volume(stack: Compose) -> None:
    """Compose gives a new container the volume of the old one, by its name: what has one stays."""
    seen = stack.homes()
    stack.run("up", "--force-recreate", "--scale", "app=3")
    seen |= stack.homes()
    stack.run("up", "--scale", "app=2")
    now = stack.homes()
    assert len(now) == 3
    left = set(docker("volume", "ls", "-q").split())
    assert seen & left == now


def layers(image: str) -> Iterator[tuple[str, str]]:
    """Every file of every layer of an image: its path, and the hash of what is in it."""
    with tempfile.TemporaryFile() as file:
        subprocess.run(["docker", "save", image], stdout=file, check=True, timeout=300)
        file.seek(0)
        with tarfile.open(fileobj=file) as saved:
            for member in saved:
                inside = saved.extractfile(member)
                if inside and is_layer(inside):
                    with tarfile.open(fileobj=inside) as layer:
                        yield from files(layer)


def is_layer(inside: IO[bytes]) -> bool:
    """Whether it is an archive, and not one of the engine's own notes."""
    try:
        return tarfile.is_tarfile(inside)
    finally:
        inside.seek(0)


def files(layer: tarfile.TarFile) -> Iterator[tuple[str, str]]:
    for one in layer:
        content = layer.extractfile(one) if one.isfile() else None
        if content:
            yield one.name, hashlib.sha256(content.read()).hexdigest()


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("image", ["bulkhead-host", "bulkhead-database", "debian:bookworm-slim"])
def test_no_layer_holds_how_this_machine_reaches_packages(image: str) -> None:
    """In no layer, also of files that a later one has removed; and nothing in the history."""
    reach = [one for one in (ROOT / "var" / "build").glob("*") if one.stat().st_size]
    if not reach:
        print("nothing to be found: this machine has no such settings, or a registry its base")
    private = {hashlib.sha256(one.read_bytes()).hexdigest(): one.name for one in reach}
    paths = set()
    for path, digest in layers(image):
        assert digest not in private, f"{path} is {private[digest]} of var/build"
        paths.add(path.lstrip("./"))
    assert len(paths) > 1000
    assert not {one for one in paths if one.startswith(("reach/", "srv/bulkhead/var/"))}
    assert not paths & {"etc/pip.conf", "etc/hostname"}
    if image != "debian:bookworm-slim":
        said = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
        assert "reach" not in said
        assert "apt-get" not in said


@pytest.mark.usefixtures("stack")
def test_a_host_holds_what_it_needs_and_no_tools_of_ours() -> None:
    script = "import importlib.util as u; print([n for n in ('mypy', 'ruff', 'schemathesis', "
    script += "'xdist', 'kubernetes_validate') if u.find_spec(n)])"
    run = ["run", "--rm", "--network", "none", "bulkhead-host"]
    assert docker(*run, "python", "-c", script) == "[]"
    assert "is right" in docker(*run, "bulkhead", "check")


def test_no_host_can_take_the_machine_along(stack: Compose) -> None:
    """Limits of memory, of processes, and of what it prints; the filter has what we need."""
    for service in ("proxy", "app", "database"):
        for host in stack.containers(service):
            form = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.LogConfig}}"
            memory, pids, *log = docker("inspect", "--format", form, host).split()
            assert 2**28 <= int(memory) <= 2**30
            assert int(pids) == 512
            assert "max-size:10m]}" in log
            if service != "database":
                assert "not permitted here" not in docker("logs", host)


def test_nginx_is_upgraded_and_refuses_nobody(stack: Compose, load: Load) -> None:
    (proxy,) = stack.containers("proxy")
    for _ in range(2):
        docker("exec", proxy, "bulkhead", "upgrade", "nginx")
        load.more()
    load.uses(2)


def test_an_instance_that_keeps_crashing_costs_no_host(stack: Compose, load: Load) -> None:
    """As with the fault crash_at_boot; its host stays what it is, and stays healthy."""
    host = stack.containers("app")[0]
    started = docker("inspect", "--format", "{{.State.StartedAt}}", host)
    name = f"api-1.{docker('inspect', '--format', '{{.Config.Hostname}}', host)}"
    order = f"/var/lib/bulkhead/run/admin/{name}.crash"

    def check(*words: str) -> str:
        return docker("exec", host, "sh", "-c", f"{' '.join(words)} >/dev/null; echo $?")

    script = f"touch {order}; kill -9 $(cut -d ' ' -f 1 /var/lib/bulkhead/run/programs/{name})"
    docker("exec", host, "sh", "-c", script)
    try:
        wait_until("it crashes", lambda: check("bulkhead status") == "1", 60, 0.5)
        wait_until("it keeps crashing", lambda: check("bulkhead status --serving") == "0", 60, 0.5)
        assert check("deploy/health") == "0"
        load.uses(2)
    finally:
        docker("exec", host, "rm", "-f", order)
    wait_until("it is back", lambda: check("bulkhead status") == "0", 60, 0.5)
    form = "{{.State.StartedAt}} {{.State.Health.Status}}"
    assert docker("inspect", "--format", form, host) == f"{started} healthy"


def test_a_stop_without_the_databases_host_is_a_short_one(stack: Compose) -> None:
    """Nobody resolves its name then: a thread of each instance waits for that, and no more."""
    (database,) = stack.containers("database")
    host = stack.containers("app")[1]
    docker("stop", "--time", "30", database)
    try:
        words = ["bash", "-c", "for n in 1 2 3 4; do (exec 3<>/dev/tcp/127.0.0.1/810$n; printf "]
        words[-1] += "'GET /api/v1/entries HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3) & done; wait"
        docker("exec", host, *words)
        began = time.monotonic()
        docker("stop", "--time", "100", host)
        assert time.monotonic() - began < 15
        assert docker("inspect", "--format", "{{.State.ExitCode}}", host) == "0"
    finally:
        docker("start", database)
        docker("start", host)
        stack.run("up", "--scale", "app=2")


def test_nobody_is_root_and_nothing_can_be_written(stack: Compose) -> None:
    for service in ("proxy", "app", "database"):
        for host in stack.containers(service):
            assert docker("exec", host, "id", "-u") != "0"
            script = "{ touch /srv/x || touch /usr/x || touch /x; } 2>/dev/null && echo written"
            assert docker("exec", host, "sh", "-c", script, check=False) == ""
            found = docker("inspect", "--format", "{{.HostConfig.CapDrop}}", host)
            assert found == "[ALL]"
    (proxy,) = stack.containers("proxy")
    published = docker("inspect", "--format", "{{.HostConfig.PortBindings}}", proxy)
    assert published == f"map[8080/tcp:[{{127.0.0.1 {stack.port}}}]]"


def test_a_stop_is_heard_and_lets_everything_finish(stack: Compose, load: Load) -> None:
    """SIGTERM reaches supervisord, which drains: no writes fail, and nobody waits for SIGKILL."""
    host = stack.containers("app")[1]
    began = time.monotonic()
    docker("stop", "--time", "30", host)
    assert time.monotonic() - began < 15
    assert docker("inspect", "--format", "{{.State.ExitCode}}", host) == "0"
    load.more()
    docker("start", host)
    load.uses(2)


def test_a_load_of_masters_and_workers_is_accounted_for(stack: Compose) -> None:
    """Locust in containers: the rows of both workers, the proxy's and the database's agree."""
    words = ["load", "--hosts", "containers", "--workers", "2", "--users", "6", "--time", "8"]
    done = subprocess.run(
        [sys.executable, "-m", "bulkhead.cli", *words, "--json"],
        cwd=ROOT, env=stack.environ, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    run = RunDir(Path(told["run"]))
    client = [row.id for row in read_rows(run.client_rows, ClientRow)]
    proxy = {row.id for row in read_rows(run.proxy_rows, ProxyRow)}
    assert len(client) == len(set(client)) > 50
    assert set(client) <= proxy
    assert len({one.rpartition("-")[0] for one in client}) >= 6, "each user has ids of its own"
    assert told["writes"]["acknowledged"] == told["writes"]["applied"] > 0
    assert (told["writes"]["lost"], told["writes"]["doubled"]) == ([], [])
    for service in ("load-master", "load-worker"):
        assert stack.containers(service) == []


def test_a_drill_breaks_hosts_in_containers(
    tmp_path_factory: pytest.TempPathFactory, stack: Compose
) -> None:
    """Beside the stack that is up, which it does not touch."""
    home = tmp_path_factory.mktemp("d")
    words = ["drill", "host-kill", "--hosts", "containers", "--json", "--set", f"stack.home={home}"]
    done = subprocess.run(
        [sys.executable, "-m", "bulkhead.cli", *words],
        cwd=ROOT, env=stack.environ, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    (told,) = json.loads(done.stdout)
    assert (told["verdict"], done.returncode) == ("PASS", 0), done.stdout
    assert told["figures"]["confirmed"] == 2
    assert docker("ps", "-aq", "--filter", "name=bhdrill") == ""


def test_a_taken_port_is_one_clear_line(stack: Compose, tmp_path: Path) -> None:
    other = Compose(tmp_path, stack.port, stack.command)
    refused = other.run("up", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (5, 1)
    assert f"somebody listens on 127.0.0.1:{stack.port}" in refused.stderr


def test_without_an_engine_it_is_one_clear_line(tmp_path: Path) -> None:
    if not shutil.which("docker"):
        pytest.skip("no docker on this machine")
    other = Compose(tmp_path, 1, "")
    other.environ["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    refused = other.run("up", check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1)
    assert "no engine answers" in refused.stderr
