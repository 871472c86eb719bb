"""deploy/database makes a cluster whose password is the secret, whatever characters that has."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from bulkhead.testing import free_ports, wait_until
from tests.deploy.descriptions import ROOT
from tests.support.databases import NOBODY, POSTGRESQL, as_nobody

pytestmark = pytest.mark.live

PASSWORDS = {
    "hexadecimal": "0123456789abcdef",
    "letters and signs": 'Zürich! $HOME `id` "x" \\n %s; DROP',
    "quotes": "it's; ALTER ROLE bulkhead NOLOGIN --''",
}


class Database:
    """A container's first process without a container: its folder, its secret, its port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.secret = folder / "ledger_password"
        programs = f"{POSTGRESQL[-1]}:/usr/bin:/bin"
        self.environ = {"PATH": programs, "PGDATA": str(folder / "data"), "PGPORT": str(port)}
        self.environ["BULKHEAD_LEDGER_PASSWORD_FILE"] = str(self.secret)

    def command(self) -> list[str]:
        script = str(shutil.copy(ROOT / "deploy" / "database", self.folder / "database"))
        return [script, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                self.command(), cwd=self.folder, env=self.environ, stdout=out, stderr=out,
                **as_nobody(),
            )  # fmt: skip

    def accepts(self, password: str) -> bool:
        """Whether this password lets in; False also while nobody listens."""

        async def ask() -> bool:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=self.port, user="bulkhead", password=password,
                database="bulkhead", timeout=2,
            )  # fmt: skip
            await connection.close()
            return True

        try:
            return asyncio.run(ask())
        except (OSError, asyncpg.PostgresError):
            return False


@pytest.fixture
def database() -> Iterator[Database]:
    if not POSTGRESQL:
        pytest.skip("no postgresql on this machine: apt-get install postgresql")
    # Not below pytest's own folder: only its owner may enter that.
    with tempfile.TemporaryDirectory(prefix="bulkhead-") as name, free_ports() as ports:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
        yield Database(Path(name), ports[0])


def test_the_password_is_the_secret_whatever_is_in_it(database: Database) -> None:
    """Of a new cluster, and then each time of the old one."""
    for name, password in PASSWORDS.items():
        database.secret.write_text(f" {password}\n")
        child = database.start(database.folder / "log")
        try:
            wait_until(f"{name}: it lets in", partial(database.accepts, password), 60)
            assert not database.accepts("0"), name
            assert not database.accepts(""), name
        finally:
            child.terminate()
            assert child.wait(30) == 0


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"one\ntwo", "must be one line"),
        (b"one\ttwo", "without control characters"),
        (b"one\xff", "must be one line of UTF-8"),
    ],
)
def test_what_cannot_be_a_password_is_one_clear_line(
    database: Database, text: bytes, wrong: str
) -> None:
    database.secret.write_bytes(text)
    done = subprocess.run(
        database.command(), cwd=database.folder, env=database.environ, timeout=60,
        capture_output=True, text=True, check=False, **as_nobody(),
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"database: {database.secret}: ")
    assert wrong in done.stderr
    assert not Path(database.environ["PGDATA"]).exists()
