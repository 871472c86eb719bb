"""What a drill does at an admin socket, over the real socket."""

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulkhead.http_probe import UnixConnection
from bulkhead.testing import wait_until
from tests.support.http import Answer


@dataclass(frozen=True)
class AdminSocket:
    """The admin socket of one process."""

    path: Path

    @property
    def pid(self) -> int:
        return int(self.path.name.split(".")[-2])

    @property
    def mode(self) -> int:
        return stat.S_IMODE(self.path.stat().st_mode)

    def ask(self, method: str, body: object = None, target: str = "/faults") -> Answer:
        """One request; a `body` that is not bytes is sent as JSON."""
        given = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = UnixConnection(self.path, 15)
        try:
            connection.request(method, target, given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def state(self) -> dict[str, Any]:
        answer = self.ask("GET")
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found

    def tell(self, **fields: object) -> dict[str, Any]:
        answer = self.ask("PUT", fields)
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found

    def clear(self) -> dict[str, Any]:
        answer = self.ask("DELETE")
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sockets(folder: Path, count: int) -> list[AdminSocket]:
    """The admin sockets in `folder`, once there are `count` of them."""
    wait_until(f"{count} admin sockets", lambda: len(names(folder)) == count)
    return [AdminSocket(folder / name) for name in names(folder)]


def resident_mb(pid: int) -> float:
    """The memory of a process that is really there (proc(5), VmRSS)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def cpu_s(pid: int) -> float:
    """The CPU time that a process has used in user mode (proc(5), stat field 14)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11]) / 100
