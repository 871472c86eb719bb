"""Hosts as network namespaces of this machine: its root can have them without any other program.

Each host has processes, an address and a home folder of its own; all of them have one kernel, one
clock and one disk.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

from bulkhead.hosts import inside, network, postgresql, tcp
from bulkhead.hosts.base import DATABASE, POSTGRESQL, PROXY, HostError, Hosts
from bulkhead.hosts.inside import Brake
from bulkhead.hosts.network import Network
from bulkhead.hosts.postgresql import Postgresql
from bulkhead.render.paths import Home
from bulkhead.topology.model import Topology

LISTEN, HEAR = 8080, 8070
COMMAND_S = 150  # for `bulkhead up` or `down` on a host
# Files in the folder of the hosts.
NETWORK, DATABASE_FOLDER, KEY, SESSION_KEY = "network.json", "database", "key", "session_key"
EXPORT = (sys.executable, "-m", "services.api.export")


class Namespaces(Hosts):
    """`folder` is where their homes are."""

    kind = "namespaces"

    def __init__(
        self, topology: Topology, settings: Sequence[str], folder: Path, count: int
    ) -> None:
        """Nothing runs yet. `settings` are for the proxy and the application hosts alike.

        Raises:
            StateError: this is not root.
            MissingError: PostgreSQL or ip is not installed.
        """
        names = [f"app-{number}" for number in range(1, count + 1)]
        folder.mkdir(mode=0o700, parents=True)
        self._folder = folder
        self._topology = topology
        self._settings = settings
        self._brakes: dict[str, Brake] = {}
        self._cables = Network(folder / NETWORK, [PROXY, DATABASE, *names])
        programs = postgresql.programs()  # before there is anything to be left behind
        self._database = Postgresql(
            programs, _open_folder(folder), self._inside(DATABASE), self.address(DATABASE)
        )
        password = str(self._database.password_file)
        ledger = f"postgresql://bulkhead@{self.address(DATABASE)}:{POSTGRESQL}/bulkhead"
        self._ledger = (f"stack.ledger_url={ledger}", f"stack.ledger_password_file={password}")
        self.proxy = Home(folder / PROXY)
        self.homes = {name: Home(folder / name) for name in names}
        self.url = f"http://{self.address(PROXY)}:{LISTEN}"
        self.network = self._cables.network
        self.export = [*EXPORT, ledger, password]

    def begin(self) -> None:
        """Make the network, then the database, the proxy, and the application hosts at once."""
        self._cables.make()
        for name, value in tcp.PROXY.items():
            self._set(PROXY, name, value)
        for name in (KEY, SESSION_KEY):
            (self._folder / name).write_text(secrets.token_hex(32))
        self._database.make(secrets.token_hex(16))
        self._database.start()
        self._bulkhead(PROXY, "up")
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.start, self.homes))
        self.wait_known()

    def end(self) -> None:
        """Kill all of them; rows and logs stay."""
        for name in list(self._brakes):
            self.hasten(name)
        self.clear(self._folder)
        self._database.killed()

    @staticmethod
    def clear(folder: Path) -> None:
        """By what is written down there."""
        for space in network.namespaces(folder / NETWORK):
            inside.kill(space)
        network.remove(folder / NETWORK)
        if (kept := folder / DATABASE_FOLDER).exists():
            shutil.rmtree(kept.read_text(), ignore_errors=True)
            kept.unlink()

    # One host

    def called(self, name: str) -> str:
        """By its name."""
        return name

    def address(self, name: str) -> str:
        """Always the same."""
        return self._cables.addresses[name]

    def kill(self, name: str) -> None:
        """SIGKILL, and its cable is pulled."""
        inside.kill(self._space(name))
        self._cables.unplug(name)
        if name == DATABASE:
            self._database.killed()

    def stop(self, name: str) -> None:
        """`bulkhead down`, or PostgreSQL's fast shutdown; then its cable is pulled."""
        if name == DATABASE:
            self._database.stop()
        else:
            self._bulkhead(name, "down")
        self._cables.unplug(name)

    def start(self, name: str) -> None:
        """`bulkhead up`, or PostgreSQL anew."""
        self._cables.plug(name)
        if name == DATABASE:
            self._database.start()
        else:
            self._bulkhead(name, "up")

    def freeze(self, name: str) -> None:
        """SIGSTOP."""
        inside.freeze(self._space(name))

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        inside.thaw(self._space(name))

    def cut(self, name: str) -> None:
        """Its cable is pulled at the bridge."""
        self._cables.unplug(name)

    def join(self, name: str) -> None:
        """Its cable is plugged in."""
        self._cables.plug(name)

    def slow(self, name: str, share: float) -> None:
        """SIGSTOP and SIGCONT in turns: all of its processes run at the same time, or none."""
        if name in self._brakes:
            raise HostError(f"{name}: is slow already")
        self._brakes[name] = Brake(self._space(name), share)

    def hasten(self, name: str) -> None:
        """No more of that."""
        if brake := self._brakes.pop(name, None):
            brake.let_go()

    def tells(self) -> bool:
        """By psql."""
        return self._database.answers()

    def runs(self, name: str) -> bool:
        """By /proc."""
        return bool(inside.members(self._space(name)))

    def frozen(self, name: str) -> bool:
        """By /proc."""
        return inside.frozen(self._space(name))

    def slowed(self, name: str) -> bool:
        """Seen to be stopped, as it is most of the time."""
        return name in self._brakes and inside.frozen(self._space(name))

    def joined(self, name: str) -> bool:
        """By the state of its link."""
        return self._cables.plugged(name)

    # What runs on them

    def _set(self, name: str, setting: str, value: int) -> None:
        """A setting of net.ipv4 of a host (sysctl(8) may not be installed)."""
        words = [*self._inside(name), "tee", f"/proc/sys/net/ipv4/{setting}"]
        _run(f"{name}: {setting}", words, self._topology.root, str(value))

    def _space(self, name: str) -> str:
        return self._cables.namespace(name)

    def _inside(self, name: str) -> list[str]:
        return ["ip", "netns", "exec", self._space(name)]

    def _bulkhead(self, name: str, verb: str) -> None:
        """`bulkhead VERB` on a host.

        Raises:
            HostError: it failed; with what it said.
        """
        given = [word for one in self._assignments(name) for word in ("--set", one)]
        source = str(self._topology.root / self._topology.source)
        program = [sys.executable, "-m", "bulkhead.cli", verb, "--topology", source]
        words = [*self._inside(name), *program, *given]
        _run(f"{name}: `bulkhead {verb}`", words, self._topology.root)

    def _assignments(self, name: str) -> Iterator[str]:
        """The settings of a host; what makes it a host outranks what somebody has set."""
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
        yield from self._ledger
        yield f"stack.session_key_file={self._folder / SESSION_KEY}"


def _open_folder(folder: Path) -> Path:
    """A new one that others may enter, which a home is not; written down, so that it is removed."""
    made = Path(mkdtemp(prefix="bulkhead-"))
    made.chmod(0o755)
    (folder / DATABASE_FOLDER).write_text(str(made))
    return made


def _run(what: str, words: Sequence[str], folder: Path, text: str = "") -> None:
    """Run a command to its end.

    Raises:
        HostError: it failed or did not end; with what it said.
    """
    environment = {key: said for key, said in os.environ.items() if key != "BULKHEAD_SET"}
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=environment | {"PATH": network.PATH},
            start_new_session=True,  # Ctrl-C is for us; this must come to its end
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError(f"{what}: no end in {COMMAND_S} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise HostError(f"{what} ends with {done.returncode}: {said}")
