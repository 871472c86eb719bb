"""`python -m tests.support.unnamed SERVER -- COMMAND...`: COMMAND, whose name server is SERVER.

In a mount namespace of its own, so only for root; one look-up waits there for two minutes.
"""

import ctypes
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18
SILENT = "127.53.53.53"
NAME = "nobody-knows.test"


@contextmanager
def silence() -> Iterator[list[str]]:
    """A name server that never answers; what runs a command that has it."""
    if os.geteuid():
        pytest.skip("only root can give a process another name server")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((SILENT, 53))
        yield [sys.executable, "-m", "tests.support.unnamed", SILENT, "--"]


def main(server: str, command: list[str]) -> None:
    """Become the command."""
    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(f"nameserver {server}\noptions timeout:30 attempts:4\n")
        file.flush()
        os.chmod(file.name, 0o644)  # noqa: PTH101
        target = os.path.realpath("/etc/resolv.conf").encode()
        if (
            libc.unshare(CLONE_NEWNS)
            or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
            or libc.mount(file.name.encode(), target, None, MS_BIND, None)
        ):
            raise OSError(ctypes.get_errno(), "mount")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3:])
