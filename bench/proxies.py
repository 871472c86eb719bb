"""The peers: HAProxy, Caddy and nginx with stock settings, in front of instances of their own.

Their configurations are templates in bench/peers/, each line with its reason. A plain supervisord
keeps the instances.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from bench.usage import started
from bulkhead import proc
from bulkhead.http_probe import ask
from bulkhead.render.files import environment
from bulkhead.supervise.status import tail
from bulkhead.testing import ROOT, wait_until

TEMPLATES = Path(__file__).with_name("peers")
WORKERS = 2  # processes or threads, as many as the bulkhead stack's nginx has
READY_S = 30
TORNADO = "services.api"
WHOAMI = "/api/v1/whoami"


class Peer(NamedTuple):
    """One proxy: the template of its configuration, and how it is run with the rendered `file`."""

    name: str
    template: str
    command: str


PEERS = (
    Peer("stock nginx", "nginx-stock.conf.j2", "nginx -p {folder} -e {folder}/error.log -c {file}"),
    Peer("HAProxy", "haproxy.cfg.j2", "haproxy -db -f {file}"),
    Peer("Caddy", "Caddyfile.j2", "caddy run --adapter caddyfile --config {file}"),
)


def proxy(
    peer: Peer, folder: Path, port: int, instances: Sequence[int]
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Run `peer` at `port` in front of `instances`, which are ports on loopback."""
    # Caddy is a Go program: GOMAXPROCS is its number of workers. It keeps what it likes in HOME.
    variables = {"HOME": str(folder), "GOMAXPROCS": str(WORKERS), "PATH": os.environ["PATH"]}
    values = {"port": port, "workers": WORKERS}
    command = peer.command.split()
    return _serving(command, peer.template, folder, instances, [port], values, variables)


def supervised(
    folder: Path, instances: Sequence[int], startsecs: int, module: str = TORNADO
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A supervisord with the API instances `instances`, all of them ready."""
    values: dict[str, object] = {"checkout": ROOT, "python": sys.executable}
    values |= {"root": os.geteuid() == 0, "startsecs": startsecs, "module": module}
    command = [str(Path(sys.executable).with_name("supervisord")), "-n", "-c", "{file}"]
    return _serving(command, "supervisord.conf.j2", folder, instances, instances, values)


@contextmanager
def _serving(
    command: Sequence[str],
    template: str,
    folder: Path,
    instances: Sequence[int],
    ports: Sequence[int],
    values: Mapping[str, object],
    variables: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program with the file of a template until the API answers at all of `ports`."""
    folder.mkdir()
    folder.chmod(0o711)  # nginx's workers are not root, and pass through here
    file = folder / template.removesuffix(".j2")
    addresses = [f"127.0.0.1:{port}" for port in instances]
    text = environment(TEMPLATES).get_template(template)
    file.write_text(text.render(folder=folder, addresses=addresses, **values))
    log = folder / "output.log"
    words = [word.format(file=file, folder=folder) for word in command]
    with started(words, log, variables) as child:

        def answers(port: int) -> bool:
            if not proc.find(child.pid):
                raise RuntimeError("\n".join([f"{words[0]} has ended:", *tail(log)]))
            return ask(HTTPConnection("127.0.0.1", port, timeout=2), WHOAMI).status == 200

        for port in ports:
            wait_until(f"an answer of {port}", partial(answers, port), READY_S)
        yield child
