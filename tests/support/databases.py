"""Real database servers, each with a folder and a port of its own.

Both refuse to run as root, so root starts them as another user.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import asyncmy
import asyncpg
import psutil
import pytest

from bulkhead.testing import free_ports, wait_until

PASSWORD = "only-for-tests"
NOBODY = 65534
KINDS = ("postgresql", "mariadb")
# Where Debian keeps PostgreSQL's own programs: of each version, the newest last.
POSTGRESQL = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda at: int(at.parts[-2]))
MARIADB = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Server:
    """A database server that can be killed and started again."""

    def __init__(self, kind: str, folder: Path, port: int) -> None:
        self.kind = kind
        self.folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        self._command = postgresql(folder, port) if kind == "postgresql" else mariadb(folder, port)

    def settings(self, database: str) -> dict[str, str]:
        """What an instance needs for a ledger in this database."""
        url = f"{self.kind}://bulkhead@127.0.0.1:{self.port}/{database}"
        return {"ledger_url": url, "ledger_password_file": str(self.folder / "password")}

    def start(self) -> None:
        """Start it, and return when it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, stdout=log, stderr=log, **as_nobody()
            )
        wait_until(f"{self.kind} answers", self._answers, 60)

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            self.sql("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncmy.errors.Error):
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all its processes; the first is stopped first and starts no others."""
        assert self._process
        first = psutil.Process(self._process.pid)
        first.suspend()
        for one in (*first.children(recursive=True), first):
            with suppress(psutil.NoSuchProcess):  # the process of a connection that has just ended
                one.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: no farewell to anybody."""
        self.send(signal.SIGKILL)
        assert self._process
        self._process.wait(10)

    def stop(self) -> None:
        """End it for good."""
        if self._process and self._process.poll() is None:
            self.send(signal.SIGCONT)
            self.kill()

    def sql(self, statement: str, *values: object, database: str = "") -> list[tuple[Any, ...]]:
        """The rows of a statement, each value for a `?`; committed at once."""
        ask = self._postgresql if self.kind == "postgresql" else self._mariadb
        return asyncio.run(ask(statement, values, database))

    async def _postgresql(
        self, statement: str, values: tuple[object, ...], database: str
    ) -> list[tuple[Any, ...]]:
        numbers = count(1)
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.port, user="bulkhead", password=PASSWORD,
            database=database or "postgres", timeout=2,
        )  # fmt: skip
        try:
            numbered = re.sub(r"\?", lambda _: f"${next(numbers)}", statement)
            return [tuple(row) for row in await connection.fetch(numbered, *values)]
        finally:
            await connection.close(timeout=2)

    async def _mariadb(
        self, statement: str, values: tuple[object, ...], database: str
    ) -> list[tuple[Any, ...]]:
        connection = await asyncmy.connect(
            host="127.0.0.1", port=self.port, user="bulkhead", password=PASSWORD,
            database=database or None, autocommit=True, connect_timeout=2,
            init_command="SET SESSION sql_mode = 'ANSI_QUOTES'",
        )  # fmt: skip
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(statement.replace("?", "%s"), values)
                return list(await cursor.fetchall())
        finally:
            connection.close()


def postgresql(folder: Path, port: int) -> list[str]:
    """Make a cluster; the command that serves it."""
    programs, data = POSTGRESQL[-1], folder / "data"
    words = ["--username=bulkhead", f"--pwfile={folder / 'password'}", "--auth=scram-sha-256"]
    words += ["--encoding=UTF8", "--locale=C", "--no-sync", f"--pgdata={data}"]
    carry_out([str(programs / "initdb"), *words], folder)
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": ""}
    chosen = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    return [str(programs / "postgres"), "-D", str(data), *chosen]


def mariadb(folder: Path, port: int) -> list[str]:
    """Make a data folder; the command that serves it."""
    assert MARIADB
    data, users = folder / "data", folder / "users.sql"
    carry_out(
        ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db"], folder
    )
    users.write_text(
        f"CREATE USER IF NOT EXISTS bulkhead@'%' IDENTIFIED BY '{PASSWORD}';\n"
        "GRANT ALL ON *.* TO bulkhead@'%';\n"
    )
    users.chmod(0o644)
    return [
        MARIADB, "--no-defaults", f"--datadir={data}", f"--port={port}",
        "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}", f"--init-file={users}",
        f"--pid-file={folder / 'pid'}",
    ]  # fmt: skip


def carry_out(command: list[str], folder: Path) -> None:
    """Run a command that prepares a server."""
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False, **as_nobody()
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


def as_nobody() -> dict[str, Any]:
    """For a subprocess: another user when this is root."""
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def running(kind: str) -> Iterator[Server]:
    """A server of this kind, or the test is skipped where there is none."""
    installed = {"postgresql": POSTGRESQL, "mariadb": MARIADB}[kind]
    if not installed:
        package = {"postgresql": "postgresql", "mariadb": "mariadb-server"}[kind]
        pytest.skip(f"no {kind} on this machine: apt-get install {package}")
    # Not below pytest's own folder: only its owner may enter that.
    with tempfile.TemporaryDirectory(prefix="bulkhead-") as name, free_ports() as ports:
        Path(name).chmod(0o755)
        server = Server(kind, Path(name), ports[0])
        try:
            server.start()
            yield server
        finally:
            server.stop()
