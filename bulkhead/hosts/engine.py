"""A Docker engine, asked by its own command; the engine is the one that DOCKER_HOST names."""

import json
import subprocess
from typing import Any

from bulkhead.errors import MissingError
from bulkhead.hosts.base import HostError

DOCKER_S = 150  # the longest is to stop a host that drains (docker-compose.yml)


def docker(*words: str) -> str:
    """docker with these words; what it printed.

    Raises:
        HostError: it failed, with what it said.
        MissingError: it is not installed.
    """
    try:
        done = subprocess.run(
            ["docker", *words],
            capture_output=True,
            text=True,
            timeout=DOCKER_S,
            start_new_session=True,  # Ctrl-C is for us
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"docker {' '.join(words)}: no end in {DOCKER_S} s") from None
    except FileNotFoundError:
        raise MissingError("docker is not installed: apt-get install docker.io") from None
    if done.returncode != 0:
        raise HostError(f"docker {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def inspect(container: str) -> dict[str, Any]:
    """What the engine knows of a container.

    Raises:
        HostError: there is none of that name.
    """
    (found,) = json.loads(docker("inspect", container))
    return dict(found)


def containers(project: str, service: str) -> list[str]:
    """The containers of one service of a compose project, by name, first to last."""
    label = "label=com.docker.compose"
    wanted = ["--filter", f"{label}.project={project}", "--filter", f"{label}.service={service}"]
    form = '{{.Label "com.docker.compose.container-number"}} {{.Names}}'
    lines = docker("ps", "--all", *wanted, "--format", form).splitlines()
    return [
        name for _, name in sorted((int(number), name) for number, name in map(str.split, lines))
    ]
