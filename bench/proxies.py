"""The peers: HAProxy, Caddy and nginx with stock settings, in front of instances of their own.

Their configurations are templates in bench/peers/, each line with its reason. The instances are
kept by a plain supervisord, or by nobody where none of them dies.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Program, started
from bulkhead.control.process import Process
from bulkhead.render.templates import environment
from tests.support.http import request
from tests.support.waiting import wait_until

TEMPLATES = Path(__file__).with_name("peers")
CHECKOUT = Path(__file__).parents[1]
WORKERS = 2  # processes or threads, as many as the bulkhead stack's nginx has
READY_S = 30
TORNADO = "services.api"


@dataclass(frozen=True)
class Peer:
    """One proxy: the template of its configuration, and how it is run with the rendered file."""

    name: str
    template: str
    command: Callable[[Path], list[str | Path]]


STOCK = Peer(
    "stock nginx",
    "nginx-stock.conf.j2",
    lambda file: ["nginx", "-p", file.parent, "-e", file.parent / "error.log", "-c", file],
)
HAPROXY = Peer("HAProxy", "haproxy.cfg.j2", lambda file: ["haproxy", "-db", "-f", file])
CADDY = Peer(
    "Caddy",
    "Caddyfile.j2",
    lambda file: ["caddy", "run", "--adapter", "caddyfile", "--config", file],
)
PEERS = (STOCK, HAPROXY, CADDY)


@dataclass(frozen=True)
class Running:
    """A proxy that serves at `url`."""

    url: str
    process: Process


@contextmanager
def proxy(peer: Peer, folder: Path, port: int, instances: Sequence[int]) -> Iterator[Running]:
    """Run `peer` at `port` in front of `instances`, which are ports on loopback."""
    folder.mkdir()
    folder.chmod(0o711)  # nginx's workers are not root, and pass through here
    file = folder / peer.template.removesuffix(".j2")
    file.write_text(
        _render(
            peer.template,
            folder=folder,
            port=port,
            workers=WORKERS,
            addresses=_addresses(instances),
        )
    )
    # Caddy is a Go program: GOMAXPROCS is its number of workers. It keeps what it likes in HOME.
    variables = {"HOME": str(folder), "GOMAXPROCS": str(WORKERS), "PATH": _path()}
    url = f"http://127.0.0.1:{port}"
    with started(peer.command(file), folder / "output.log", variables) as program:
        _wait_for_answer(program, url)
        yield Running(url, program.process)


@contextmanager
def supervised(
    folder: Path, instances: Sequence[int], startsecs: int, module: str = TORNADO
) -> Iterator[Process]:
    """A supervisord with the API instances `instances`, all of them ready; its process."""
    folder.mkdir()
    file = folder / "supervisord.conf"
    file.write_text(
        _render(
            "supervisord.conf.j2",
            folder=folder,
            checkout=CHECKOUT,
            python=sys.executable,
            root=os.geteuid() == 0,
            addresses=_addresses(instances),
            startsecs=startsecs,
            module=module,
        )
    )
    supervisord = Path(sys.executable).with_name("supervisord")
    with started([supervisord, "-n", "-c", file], folder / "output.log") as program:
        for port in instances:
            _wait_for_answer(program, f"http://127.0.0.1:{port}")
        yield program.process


def _wait_for_answer(program: Program, url: str) -> None:
    def answered() -> bool:
        program.require()
        return answers(url)

    wait_until(f"an answer of {url}", answered, READY_S)


def answers(url: str) -> bool:
    """Whether the API answers there."""
    try:
        return request(url, "GET", "/api/v1/whoami", timeout_s=2).status == 200
    except OSError:
        return False


def _addresses(ports: Sequence[int]) -> list[str]:
    return [f"127.0.0.1:{port}" for port in ports]


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"


def _render(template: str, **values: object) -> str:
    return environment(TEMPLATES).get_template(template).render(values)
