"""PostgreSQL on a host of its own, as a drill needs it: an empty cluster, really killed."""

import os
import pwd
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from signal import SIGINT

from bulkhead.clock import wait_until
from bulkhead.errors import MissingError, StartError
from bulkhead.hosts.interface import POSTGRESQL, HostError, run
from bulkhead.http_probe import accepts
from bulkhead.supervise.status import tail

INIT_S = 120
BOOT_S = 60
STOP_S = 30
ANSWER_S = 5
# Each process of each instance keeps a few connections.
CONNECTIONS = 200
# Where Debian keeps PostgreSQL's own programs: a folder for each version.
PROGRAMS = Path("/usr/lib/postgresql")
USERS = ("postgres", "nobody")  # the first that there is: PostgreSQL refuses to run as root


def programs() -> Path:
    """The folder of the newest version's programs; MissingError if it is not installed."""
    versions = sorted(PROGRAMS.glob("*/bin"), key=lambda path: float(path.parts[-2]))
    if not versions:
        raise MissingError("postgresql is not installed: apt-get install postgresql")
    return versions[-1]


class Postgresql:
    """One cluster in `folder`, which other users than root may enter.

    `programs` is the folder of PostgreSQL's own programs, `inside` the start of a command that is
    to run on its host, `ledger` the settings of a stack that uses it. As root, it runs as another.
    """

    def __init__(
        self,
        programs: Path,
        folder: Path,
        address: str,
        port: int = POSTGRESQL,
        inside: Sequence[str] = (),
    ) -> None:
        """Nothing is made yet."""
        self.password_file = folder / "password"
        self.url = f"postgresql://bulkhead@{address}:{port}/bulkhead"
        self.ledger = (
            f"stack.ledger_url={self.url}",
            f"stack.ledger_password_file={self.password_file}",
        )
        self.child: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._data = folder / "data"
        self._programs = programs
        self._inside = inside
        self._address = address
        self._port = port

    def make(self, password: str) -> None:
        """Make the cluster, with a user and an empty database of the name `bulkhead`.

        HostError with PostgreSQL's message.
        """
        self.password_file.write_text(password)
        self.password_file.chmod(0o600)
        if os.geteuid() == 0:
            user = _user()
            for path in (self._folder, self.password_file):
                os.chown(path, user.pw_uid, user.pw_gid)
        self._carry_out(
            *("initdb", f"--pgdata={self._data}", "--username=bulkhead", "--encoding=UTF8"),
            *(f"--pwfile={self.password_file}", "--locale=C", "--auth=scram-sha-256"),
        )
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all bulkhead all scram-sha-256\n")
        # Single-user mode: nobody can connect to a half-made cluster.
        single = ("postgres", "--single", "-D", str(self._data), "postgres")
        self._carry_out(*single, text="CREATE DATABASE bulkhead;\n")

    def start(self) -> None:
        """Start it, and wait until its port is open; StartError with the end of its output."""
        log = self._folder / "log"
        words = ["-D", str(self._data), "--unix_socket_directories=", f"--port={self._port}"]
        words += [f"--listen_addresses={self._address}", f"--max_connections={CONNECTIONS}"]
        with log.open("ab") as out:
            self.child = child = subprocess.Popen(
                [*self._inside, *self._command("postgres", *words)],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for us
            )
        is_open = partial(accepts, self._address, self._port)
        wait_until(lambda: is_open() or child.poll() is not None, BOOT_S)
        if child.poll() is not None or not is_open():
            raise StartError("PostgreSQL did not start:", *tail(log))

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, and the rest is written to disk.

        HostError if it does not end.
        """
        if self.child:
            self.child.send_signal(SIGINT)
        self.wait_ended()

    def wait_ended(self) -> None:
        """Wait for the end of a server that was told to end, or that something else has killed.

        HostError if it does not end.
        """
        try:
            if self.child:
                self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise HostError(f"PostgreSQL does not end in {STOP_S} s") from None

    def answers(self) -> bool:
        """Whether it answers a query; a frozen one's kernel accepts, and no more."""
        psql = (str(self._programs / "psql"), "--no-psqlrc", f"--dbname={self.url}")
        try:
            done = subprocess.run(
                [*psql, "-qAt", "-c", "SELECT 1"],
                env={"PGPASSWORD": self.password_file.read_text(), "PGCONNECT_TIMEOUT": "2"},
                capture_output=True,
                timeout=ANSWER_S,  # PGCONNECT_TIMEOUT ends with the connection
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def _command(self, program: str, *words: str) -> list[str]:
        command = [str(self._programs / program), *words]
        if os.geteuid():
            return command
        user = _user()
        drop = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return ["setpriv", *drop, *command]

    def _carry_out(self, *words: str, text: str = "") -> None:
        run(self._command(*words), INIT_S, what=words[0], text=text, folder=self._folder)


def _user() -> pwd.struct_passwd:
    for name in USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise MissingError(f"no user {' or '.join(USERS)}: PostgreSQL must not run as root")
