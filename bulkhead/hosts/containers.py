"""Hosts as containers: those of docker-compose.yml, on an engine of this machine.

The engine is asked by its own command; it is the one that DOCKER_HOST names. The files of a host
are in a volume of its container, which only root can read.
"""

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bulkhead.atomic import BROKEN, replace
from bulkhead.clock import wait_until
from bulkhead.errors import ConfigError, StateError
from bulkhead.hosts.interface import DATABASE, PROXY, HostError, Hosts, run
from bulkhead.render.paths import Home
from bulkhead.supervise.preflight import listeners
from bulkhead.topology.model import Topology

COMPOSE = "deploy/compose"
LISTEN = 8080
UP_S = 900  # the first time images are built
DOCKER_S = 150  # the longest is to stop a host that drains (docker-compose.yml)
STOP_S = 100  # docker-compose.yml: stop_grace_period of a host that drains
KILLED = 137  # the exit code after SIGKILL
FREEZE_S = 20
HOME = "/var/lib/bulkhead"
PROJECT = "compose.json"  # the environment of deploy/compose, for ending them later
ENGINE = ("DOCKER_HOST", "DOCKER_CONTEXT", "BULKHEAD_COMPOSE")
# Settings of the user, in the environment and in .env, would add services and change ours.
COMPOSED = {"COMPOSE_FILE": "docker-compose.yml", "COMPOSE_PROFILES": ""}
EXPORT = (
    *("python", "-m", "services.api.ledger.export"),
    *("postgresql://bulkhead@database:5432/bulkhead", "/run/secrets/ledger_password"),
)
PORTS = range(19_900, 20_000)


class Containers(Hosts):
    """One compose project. `folder` has a link to the volume of each host, and the secrets."""

    kind = "containers"

    def __init__(
        self,
        topology: Topology,
        settings: Sequence[str],
        folder: Path,
        count: int,
        project: str = "",
    ) -> None:
        """Nothing runs yet, unless there is a `project` already: its secrets are its own.

        StateError if this is not root. ConfigError if the containers cannot have these settings, or
        this topology.
        """
        if os.geteuid() != 0:
            raise StateError(
                "only root can read what the hosts write into their volumes: run the drill as root"
            )
        if found := [setting for setting in settings if setting.split() != [setting]]:
            raise ConfigError(f"{found[0]}: a setting with spaces cannot be given to containers")
        if topology.source != "stack.toml" or not (topology.root / COMPOSE).is_file():
            raise ConfigError(
                f"{topology.source}: the hosts' image has the stack.toml of its checkout: use "
                "that one, and change it with --set"
            )
        folder.mkdir(mode=0o700, parents=True)
        self._root = topology.root
        self._folder = folder
        self._count = count
        self._project = project or f"bhdrill{secrets.token_hex(4)}"
        self.environment = COMPOSED | {"COMPOSE_PROJECT_NAME": self._project}
        # The process that removes them later may have other settings of the engine.
        self.environment |= {name: os.environ[name] for name in ENGINE if name in os.environ}
        if not project:
            self.environment |= {
                "BULKHEAD_SECRETS": str(folder / "secrets"),
                "BULKHEAD_PORT": str(_free_port()),
                "BULKHEAD_HOSTS_SET": " ".join(settings),
            }
        self._containers: dict[str, str] = {}
        self._throttle_counts: dict[str, int] = {}

    def start_all(self) -> None:
        """Build the images and start everything; homes become known."""
        saved = {"root": str(self._root), "environment": self.environment}
        # Durable: the engine starts its containers again after a power cut.
        replace(self._folder / PROJECT, json.dumps(saved), durable=True)
        compose(self._root, self.environment, "up", "--scale", f"app={self._count}")
        self.attach()
        self.wait_known()

    def attach(self) -> None:
        """Get to know the hosts that run; StateError if the project does not run."""
        apps = containers(self._project, "app")
        names = {f"app-{number}": one for number, one in enumerate(apps, 1)}
        found = {service: containers(self._project, service) for service in (PROXY, DATABASE)}
        if not names or not all(found.values()):
            raise StateError(f"no containers of {self._project} run: run `make compose-up` first")
        self._containers = {name: one for name, (one, *_) in found.items()} | names
        self.proxy = self._home(PROXY)
        self.homes = {name: self._home(name) for name in names}
        self.url = f"http://{self.address(PROXY)}:{LISTEN}"
        self._network = next(iter(self._networks(PROXY)), "")
        (known,) = json.loads(docker("network", "inspect", self._network))
        self.network = known["IPAM"]["Config"][0]["Subnet"]
        self.export = ["docker", "exec", self._containers["app-1"], *EXPORT]

    @staticmethod
    def clear(folder: Path) -> None:
        if saved := _saved(folder / PROJECT):
            compose(Path(saved["root"]), saved["environment"], "clean")
        (folder / PROJECT).unlink(missing_ok=True)

    @staticmethod
    def left(folder: Path) -> list[str]:
        saved = _saved(folder / PROJECT)
        return [f"containers of {saved['environment']['COMPOSE_PROJECT_NAME']}"] if saved else []

    # One host

    def called(self, name: str) -> str:
        """By its container's id: hosts.name in docker-compose.yml."""
        return str(self._inspect(name)["Config"]["Hostname"])

    def address(self, name: str) -> str:
        """As the engine has given it; another one after a reconnection."""
        known = self._networks(name)
        return str(next(iter(known.values()))["IPAddress"]) if known else ""

    def kill(self, name: str) -> None:
        docker("kill", self._containers[name])

    def stop(self, name: str) -> None:
        docker("stop", "--time", str(STOP_S), self._containers[name])
        if self._inspect(name)["State"]["ExitCode"] == KILLED:
            raise HostError(f"{name}: did not end in {STOP_S} s, and was killed")

    def start(self, name: str) -> None:
        docker("start", self._containers[name])

    def freeze(self, name: str) -> None:
        """`docker pause`, again while a health check is just starting: runc refuses that."""

        def frozen() -> bool:
            try:
                docker("pause", self._containers[name])
            except HostError:
                return self.frozen(name)
            return True

        if not wait_until(frozen, FREEZE_S):
            raise HostError(f"{name}: cannot be paused")

    def thaw(self, name: str) -> None:
        if self.frozen(name):
            docker("unpause", self._containers[name])

    def partition(self, name: str) -> None:
        docker("network", "disconnect", self._network, self._containers[name])

    def heal(self, name: str) -> None:
        """`docker network connect`, with the name that compose had given it."""
        if not self.connected(name):
            service = name.partition("-")[0]
            docker("network", "connect", "--alias", service, self._network, self._containers[name])

    def throttle(self, name: str, share: float) -> None:
        self._throttle_counts[name] = self._throttle_count(name)
        docker("update", "--cpus", f"{share:g}", self._containers[name])

    def unthrottle(self, name: str) -> None:
        docker("update", "--cpus", str(os.cpu_count()), self._containers[name])

    def runs(self, name: str) -> bool:
        return bool(self._inspect(name)["State"]["Running"])

    def frozen(self, name: str) -> bool:
        return bool(self._inspect(name)["State"]["Paused"])

    def throttled(self, name: str) -> bool:
        """It may not have all, and its control group says that it was held back since."""
        limit = int(self._inspect(name)["HostConfig"]["NanoCpus"])
        limited = limit < (os.cpu_count() or 1) * 10**9
        return limited and self._throttle_count(name) > self._throttle_counts.get(name, 0)

    def _throttle_count(self, name: str) -> int:
        script = "cat /sys/fs/cgroup/cpu.stat /sys/fs/cgroup/cpu/cpu.stat 2>/dev/null || true"
        told = docker("exec", self._containers[name], "sh", "-c", script)
        counts: dict[str, str] = dict(line.split() for line in told.splitlines())
        return int(counts.get("nr_throttled", 0))

    def database_answers(self) -> bool:
        asked = ["psql", "-qAt", "-h", "/tmp", "-U", "bulkhead", "-d", "bulkhead", "-c", "SELECT 1"]
        try:
            return docker("exec", self._containers[DATABASE], *asked) == "1"
        except HostError:
            return False

    def connected(self, name: str) -> bool:
        return bool(self._networks(name))

    def _inspect(self, name: str) -> dict[str, Any]:
        return inspect(self._containers[name])

    def _networks(self, name: str) -> Mapping[str, Any]:
        return dict(self._inspect(name)["NetworkSettings"]["Networks"])

    def _home(self, name: str) -> Home:
        """By a link: the path of a volume is too long for the address of a socket in it."""
        mounts = self._inspect(name)["Mounts"]
        (volume,) = [mount["Source"] for mount in mounts if mount["Destination"] == HOME]
        link = self._folder / name
        link.symlink_to(volume)
        return Home(link)


def compose(root: Path, environment: Mapping[str, str], *words: str) -> None:
    """deploy/compose with these words, and no settings of compose but those in `environment`.

    HostError if it failed, with its message.
    """
    own = {name: text for name, text in os.environ.items() if not name.startswith("COMPOSE_")}
    with subprocess.Popen(
        [COMPOSE, *words],
        cwd=root,
        env={**own, **environment},
        start_new_session=True,  # Ctrl-C is for us
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        try:
            said, _ = child.communicate(timeout=UP_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGTERM)
            raise HostError(f"{COMPOSE} {words[0]}: no end in {UP_S} s") from None
        except BaseException:
            # With all its children: they must not go on while the project is removed.
            os.killpg(child.pid, signal.SIGTERM)
            raise
    if child.returncode != 0:
        lines = [line.removeprefix("compose: ") for line in said.strip().splitlines()[-6:]]
        raise HostError(*(lines or [f"{COMPOSE} {words[0]} ends with {child.returncode}"]))


def _saved(file: Path) -> dict[str, Any] | None:
    """The settings that a project was started with; None without a readable file."""
    try:
        saved = json.loads(file.read_text())
        str(saved["root"]), str(saved["environment"]["COMPOSE_PROJECT_NAME"])
    except (FileNotFoundError, *BROKEN):
        return None
    return dict(saved)


def _free_port() -> int:
    """For the port that compose publishes on the loopback; the load does not use it."""
    taken = {listener.port for listener in listeners()}
    free = [port for port in PORTS if port not in taken]
    return free[os.getpid() % len(free)]  # two that look at one moment see the same


def docker(*words: str) -> str:
    """Run docker with these words; its output.

    HostError if it failed, with its message. MissingError if it is not installed.
    """
    return run(["docker", *words], DOCKER_S, package="docker.io").strip()


def inspect(container: str) -> dict[str, Any]:
    """The engine's record of a container; HostError if there is none of that name."""
    (found,) = json.loads(docker("inspect", container))
    return dict(found)


def containers(project: str, service: str) -> list[str]:
    """The containers of one service of a compose project, by name, first to last."""
    label = "label=com.docker.compose"
    wanted = ["--filter", f"{label}.project={project}", "--filter", f"{label}.service={service}"]
    form = '{{.Label "com.docker.compose.container-number"}} {{.Names}}'
    lines = docker("ps", "--all", *wanted, "--format", form).splitlines()
    numbered = sorted((int(number), name) for number, name in map(str.split, lines))
    return [name for _, name in numbered]
