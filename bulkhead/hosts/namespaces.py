"""Hosts as network namespaces of this machine: its root can have them without any other program.

Each host has processes, an address and a home folder of its own; all of them have one kernel, one
clock and one disk.
"""

import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

from bulkhead.atomic import replace
from bulkhead.hosts import netns, postgresql
from bulkhead.hosts.interface import DATABASE, PROXY, HostError, Hosts, run
from bulkhead.hosts.netns import Network, Throttle
from bulkhead.hosts.postgresql import Postgresql
from bulkhead.render.paths import Home
from bulkhead.topology.model import Topology

LISTEN, HEAR = 8080, 8070
COMMAND_S = 150  # for `bulkhead up` or `down` on a host
# Files in the folder of the hosts.
NETWORK, DATABASE_FOLDER, KEY, SESSION_KEY = "network.json", "database", "key", "session_key"
OPEN = "bulkhead-"  # how the database's folder begins, which others may enter
EXPORT = (sys.executable, "-m", "services.api.ledger.export")
# The answer of a proxy's kernel to silence (docs/hosts.md): settings of net.ipv4, which belong to a
# namespace. It gives up unacknowledged data after four tries, and unanswered requests after
# keep-alive probes (nginx: proxy_socket_keepalive). docker-compose.yml and deploy/swarm.yml have
# the same; deploy/kubernetes has a part, and with a component all of it.
PROXY_TCP = {
    "tcp_retries2": 3,  # 0.2 + 0.4 + 0.8 + 1.6 s
    "tcp_keepalive_time": 1,
    "tcp_keepalive_intvl": 1,
    "tcp_keepalive_probes": 2,
}


class Namespaces(Hosts):
    """`folder` is where their homes are."""

    kind = "namespaces"

    def __init__(
        self, topology: Topology, settings: Sequence[str], folder: Path, count: int
    ) -> None:
        names = [f"app-{number}" for number in range(1, count + 1)]
        folder.mkdir(mode=0o700, parents=True)
        self._folder = folder
        self._topology = topology
        self._settings = settings
        self._throttles: dict[str, Throttle] = {}
        self._links = Network(folder / NETWORK, [PROXY, DATABASE, *names])
        programs = postgresql.programs()  # before there is anything to be left behind
        made = Path(mkdtemp(prefix=OPEN))
        made.chmod(0o755)  # others may enter it, as they may not enter a home
        replace(folder / DATABASE_FOLDER, str(made), durable=True)  # so that it is removed
        address, inside = self.address(DATABASE), self._inside(DATABASE)
        self._database = Postgresql(programs, made, address, inside=inside)
        self.proxy = Home(folder / PROXY)
        self.homes = {name: Home(folder / name) for name in names}
        self.url = f"http://{self.address(PROXY)}:{LISTEN}"
        self.network = self._links.network
        self.export = [*EXPORT, self._database.url, str(self._database.password_file)]

    def start_all(self) -> None:
        """Make the network, then the database, the proxy, and the application hosts at once."""
        self._links.make()
        for name, value in PROXY_TCP.items():  # sysctl(8) may not be installed
            words = [*self._inside(PROXY), "tee", f"/proc/sys/net/ipv4/{name}"]
            run(words, COMMAND_S, what=f"{PROXY}: {name}", text=str(value))
        for name in (KEY, SESSION_KEY):
            replace(self._folder / name, secrets.token_hex(32), durable=False)
        self._database.make(secrets.token_hex(16))
        self._database.start()
        self._bulkhead(PROXY, "up")
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.start, self.homes))
        self.wait_known()

    def end_all(self) -> None:
        for name in list(self._throttles):
            self.unthrottle(name)
        super().end_all()
        self._database.wait_ended()

    @staticmethod
    def clear(folder: Path) -> None:
        for space in netns.namespaces(folder / NETWORK):
            netns.kill(space)
        netns.remove(folder / NETWORK)
        if (kept := folder / DATABASE_FOLDER).exists():
            made = Path(kept.read_text(errors="replace"))
            if made.name.startswith(OPEN) and made.parent != made:  # nothing else, if it is garbled
                shutil.rmtree(made, ignore_errors=True)
            kept.unlink()

    @staticmethod
    def left(folder: Path) -> list[str]:
        spaces = netns.namespaces(folder / NETWORK)
        processes = sum(len(netns.members(space)) for space in spaces)
        counts = {"namespaces": len(spaces), "processes in them": processes}
        return [f"{count} {what}" for what, count in counts.items() if count]

    # One host

    def called(self, name: str) -> str:
        return name

    def address(self, name: str) -> str:
        return self._links.addresses[name]

    def kill(self, name: str) -> None:
        netns.kill(self._space(name))
        self._links.disconnect(name)
        if name == DATABASE:
            self._database.wait_ended()

    def stop(self, name: str) -> None:
        if name == DATABASE:
            self._database.stop()
        else:
            self._bulkhead(name, "down")
        self._links.disconnect(name)

    def start(self, name: str) -> None:
        self._links.connect(name)
        if name == DATABASE:
            self._database.start()
        else:
            self._bulkhead(name, "up")

    def freeze(self, name: str) -> None:
        netns.freeze(self._space(name))

    def thaw(self, name: str) -> None:
        netns.thaw(self._space(name))

    def partition(self, name: str) -> None:
        self._links.disconnect(name)

    def heal(self, name: str) -> None:
        self._links.connect(name)

    def throttle(self, name: str, share: float) -> None:
        """SIGSTOP and SIGCONT in turns: all of its processes run at the same time, or none."""
        if name in self._throttles:
            raise HostError(f"{name}: is throttled already")
        self._throttles[name] = Throttle(self._space(name), share)

    def unthrottle(self, name: str) -> None:
        if throttle := self._throttles.pop(name, None):
            throttle.remove()

    def database_answers(self) -> bool:
        return self._database.answers()

    def runs(self, name: str) -> bool:
        return bool(netns.members(self._space(name)))

    def frozen(self, name: str) -> bool:
        return netns.frozen(self._space(name))

    def throttled(self, name: str) -> bool:
        return name in self._throttles and netns.frozen(self._space(name))

    def connected(self, name: str) -> bool:
        return self._links.connected(name)

    # What runs on them

    def _space(self, name: str) -> str:
        return self._links.namespace(name)

    def _inside(self, name: str) -> list[str]:
        return ["ip", "netns", "exec", self._space(name)]

    def _bulkhead(self, name: str, verb: str) -> None:
        """`bulkhead VERB` on a host; HostError with its output if it failed."""
        given = [word for setting in self._assignments(name) for word in ("--set", setting)]
        source = str(self._topology.root / self._topology.source)
        program = [sys.executable, "-m", "bulkhead.cli", verb, "--topology", source]
        words = [*self._inside(name), *program, *given]
        run(words, COMMAND_S, what=f"{name}: `bulkhead {verb}`", folder=self._topology.root)

    def _assignments(self, name: str) -> Iterator[str]:
        """The settings of a host; those that make it a host come last and win."""
        yield from self._settings
        yield f'stack.home="{self._folder / name}"'
        yield f"hosts.key_file={self._folder / KEY}"
        address = self.address(name)
        if name == PROXY:
            yield "hosts.role=proxy"
            yield f"hosts.hear={address}:{HEAR}"
            yield f"proxy.listen={address}:{LISTEN}"
            yield "proxy.allow_remote=true"
            return
        yield "hosts.role=application"
        yield f"hosts.name={name}"
        yield f'hosts.tell=["{self.address(PROXY)}:{HEAR}"]'
        yield f"hosts.url={self.url}"
        yield from (f"services.{service}.host={address}" for service in self._topology.services)
        yield from self._database.ledger
        yield f"stack.session_key_file={self._folder / SESSION_KEY}"
