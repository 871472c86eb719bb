"""What each file that runs the stack in containers says of a host, in one form: to be compared.

Reads docker-compose.yml, deploy/swarm.yml and deploy/kubernetes with a YAML parser; knows their
words, and no rule.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bulkhead.topology.model import Topology
from bulkhead.topology.parse import load

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
SECRETS = "/run/secrets"
# What stands for a host's own name, in the words of a shell and of Kubernetes.
OWN_NAME = re.compile(r"\$\$\(hostname\)|\$\(HOST_NAME\)")
MORE = "${BULKHEAD_HOSTS_SET:-}"  # what a drill, or a user, adds

Tree = dict[str, Any]  # of YAML: whoever reads it knows the words of its file


@dataclass(frozen=True)
class Host:
    """A kind of host, as one file describes it."""

    where: str
    name: str  # of the service: "proxy", "app", "database"
    image: str  # without its version
    settings: tuple[str, ...]  # assignments of stack.toml
    health: str  # the command
    writable: frozenset[str]
    secrets: frozenset[str]  # names of files
    stop_s: float  # from SIGTERM to SIGKILL
    neighbours: frozenset[str]  # names that lead to hosts

    @property
    def topology(self) -> Topology:
        """stack.toml with these settings, as `bulkhead serve` reads it there."""
        return load(ROOT / "stack.toml", self.settings)


def documents(path: Path) -> list[Tree]:
    """The YAML documents of a file."""
    return list(yaml.safe_load_all(path.read_text()))


def composed(file: str) -> Iterator[Host]:
    """The hosts of docker-compose.yml, or of deploy/swarm.yml, which is of the same form."""
    (tree,) = documents(ROOT / file)
    for name, one in tree["services"].items():
        if "profiles" in one:  # Locust's
            continue
        # A host's name is said by its command, and then by the command of the health check too.
        said = [one.get("environment", {}).get("BULKHEAD_SET", ""), *one.get("command", [])]
        places = [*one.get("tmpfs", []), *one.get("volumes", [])]
        given = [
            secret if isinstance(secret, str) else secret["source"] for secret in one["secrets"]
        ]
        yield Host(
            where=file,
            name=name,
            image=_image(one["image"]),
            settings=_assignments(said),
            health=" ".join(one.get("healthcheck", {}).get("test", []))
            or _health_of_image(name == "database"),
            writable=frozenset(map(_place, places)),
            secrets=frozenset(given),
            stop_s=float(one["stop_grace_period"].removesuffix("s")),
            neighbours=frozenset(tree["services"]),
        )


def pods() -> Iterator[Host]:
    """The hosts of deploy/kubernetes."""
    trees = [one for path in manifests() for one in documents(path)]
    services = frozenset(one["metadata"]["name"] for one in trees if one["kind"] == "Service")
    for tree in trees:
        if tree["kind"] not in ("Deployment", "StatefulSet"):
            continue
        spec = tree["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        mounts = container["volumeMounts"]
        pause = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        said = [one["value"] for one in container.get("env", []) if one["name"] == "BULKHEAD_SET"]
        yield Host(
            where="deploy/kubernetes",
            name=tree["metadata"]["name"],
            image=container["image"],
            settings=_assignments(said),
            health=" ".join(container["livenessProbe"]["exec"]["command"]),
            writable=frozenset(one["mountPath"] for one in mounts if not one.get("readOnly")),
            secrets=frozenset(_projected(spec["volumes"])),
            stop_s=spec["terminationGracePeriodSeconds"] - (float(pause[1]) if pause else 0),
            neighbours=services,
        )


def _health_of_image(database: bool) -> str:
    """What the Dockerfile says, where compose says nothing else."""
    found = re.findall(r'HEALTHCHECK .*CMD \["(.*)"\]', (ROOT / "Dockerfile").read_text())
    return " ".join(["CMD", *found[database].split('", "')])


def manifests() -> list[Path]:
    """The files that a cluster is given; kustomization.yaml only lists them."""
    return sorted(path for path in KUBERNETES.glob("*.yaml") if path.stem != "kustomization")


def _assignments(said: list[str]) -> tuple[str, ...]:
    """Those of $BULKHEAD_SET, and of --set in a command; a host's own name made a possible one."""
    settings, *command = said or [""]
    words = [word for word in settings.split() if word != MORE]
    words += re.findall(r"--set (\S+)", " ".join(command))
    return tuple(OWN_NAME.sub("app-0", word) for word in words)


def _image(image: str) -> str:
    """The image's name; Swarm's are given by deploy/swarm, which calls them after the target."""
    if image.startswith("${BULKHEAD_DATABASE_IMAGE"):
        return "bulkhead-database"
    return "bulkhead-host" if image.startswith("${BULKHEAD_HOST_IMAGE") else image


def _place(volume: str | Tree) -> str:
    """Where something is mounted: of `PATH:OPTIONS` in memory, `NAME:PATH`, or the long form."""
    if not isinstance(volume, str):
        return str(volume["target"])
    first, _, rest = volume.partition(":")
    return first if first.startswith("/") else rest


def _projected(volumes: list[Tree]) -> Iterator[str]:
    for volume in volumes:
        for item in volume.get("secret", {}).get("items", []):
            assert item["key"] == item["path"]
            yield item["path"]
