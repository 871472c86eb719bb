"""deploy/compose where something is wrong with the machine: one clear line, and nothing started.

The engine and compose are fakes that say what a broken one says.
"""

import os
import subprocess
from pathlib import Path

import pytest

from bulkhead.testing import free_ports
from tests.deploy.test_compose import ROOT

pytestmark = pytest.mark.live

ENGINE = '#!/bin/sh\n[ "$1" != compose ] || exit 1\n'  # answers everything, and has no plugin
COMPOSE = '#!/bin/sh\n{more}\n[ "$1" != version ] || echo {version}\n'


def compose(
    tmp_path: Path, *words: str, port: int = 8080, chosen: str = "", **programs: str
) -> tuple[int, str]:
    """deploy/compose among these programs; its exit code and what it complained of."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in programs.items():
        path = folder / name.replace("_", "-")
        path.write_text(text)
        path.chmod(0o755)
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "HOME": os.environ.get("HOME", "/"),
        "BULKHEAD_SECRETS": str(tmp_path / "secrets"),
        "BULKHEAD_PORT": str(port),
        "BULKHEAD_COMPOSE": chosen,
    }
    done = subprocess.run(
        ["deploy/compose", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_an_old_compose(tmp_path: Path) -> None:
    old = COMPOSE.format(version="1.25.0", more="")
    code, said = compose(tmp_path, "up", docker=ENGINE, docker_compose=old)
    assert (code, said) == (4, "compose: compose 1.25.0 is too old: 1.29 or newer is needed\n")


def test_another_compose_than_there_is(tmp_path: Path) -> None:
    code, said = compose(tmp_path, "up", chosen="podman-compose", docker=ENGINE)
    assert (code, said) == (
        2,
        "compose: BULKHEAD_COMPOSE = podman-compose: must be 'docker compose' or "
        "'docker-compose', or leave it out\n",
    )


def test_a_compose_that_does_not_work(tmp_path: Path) -> None:
    broken = "#!/bin/sh\necho 'no module named yaml' >&2; exit 1\n"
    code, said = compose(tmp_path, "up", docker=ENGINE, docker_compose=broken)
    assert (code, said.count("\n")) == (4, 1)
    assert "docker-compose does not work: no module named yaml" in said


def test_without_the_base_image_the_command_that_makes_it_is_named(tmp_path: Path) -> None:
    good = COMPOSE.format(version="1.29.2", more="")
    none = '#!/bin/sh\ncase "$1" in compose|image|pull) echo "dial tcp: no route"; exit 1;; esac\n'
    code, said = compose(tmp_path, "up", docker=none, docker_compose=good)
    assert (code, said) == (
        4,
        "compose: there is no image debian:bookworm-slim, and nobody to pull it from: make it "
        "once, as root, with deploy/base-image\n",
    )


def test_an_image_that_cannot_be_built(tmp_path: Path) -> None:
    """What the engine said last, and where all of it is."""
    more = '[ "$1" != build ] || { echo "no such package: nginx"; exit 1; }'
    failing = COMPOSE.format(version="1.29.2", more=more)
    with free_ports() as ports:
        code, said = compose(tmp_path, "up", port=ports[0], docker=ENGINE, docker_compose=failing)
    assert (code, said.splitlines()) == (
        4,
        [
            "no such package: nginx",
            "compose: the images cannot be built; all that the engine said is in "
            f"{tmp_path}/secrets/build.log",
        ],
    )


def test_a_load_without_a_stack(tmp_path: Path) -> None:
    good = COMPOSE.format(version="1.29.2", more="")
    code, said = compose(tmp_path, "load", docker=ENGINE, docker_compose=good)
    assert (code, said) == (5, "compose: the stack is not up: run make compose-up first\n")


def test_a_stack_that_cannot_be_stopped(tmp_path: Path) -> None:
    more = 'case " $* " in *" rm "*) echo "permission denied"; exit 1;; esac'
    failing = COMPOSE.format(version="1.29.2", more=more)
    code, said = compose(tmp_path, "clean", docker=ENGINE, docker_compose=failing)
    assert (code, said) == (4, "compose: cannot be stopped: permission denied\n")


def test_an_unknown_word(tmp_path: Path) -> None:
    good = COMPOSE.format(version="1.29.2", more="")
    code, said = compose(tmp_path, "shake", docker=ENGINE, docker_compose=good)
    assert (code, said.count("\n")) == (2, 1)
    assert "shake: must be up, load, down, clean or status" in said
