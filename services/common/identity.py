"""Identity: the name of this instance, the id of this start of its process, and request ids.

Standard library only, shared by every service. It must not import bulkhead: the measured code
shares nothing with the code that measures it.
"""

import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

# The same shape nginx accepts (nginx/nginx.conf.j2, map $request_id_out): anything else is replaced
# by an id made here, so that a log line can never be forged or broken by a client's header.
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,127}")
MAX_REQUEST_ID = 128


@dataclass(frozen=True)
class Identity:
    """One process of one instance.

    `boot` names this start of this process and no other: `<pid>.<start time in clock ticks>`, both
    as the kernel counts them, so that anyone can check it against /proc/<pid>/stat.
    """

    service: str
    instance: str
    pid: int
    boot: str

    def headers(self) -> dict[str, str]:
        """The response headers that name this process."""
        return {"X-Instance": self.instance, "X-Boot": self.boot}

    def state(self, status: str, rows_dropped: int) -> dict[str, object]:
        """This process, as the probes of every service tell of it."""
        named = {"instance": self.instance, "boot": self.boot}
        return named | {"status": status, "rows_dropped": rows_dropped}


def current() -> Identity:
    """The identity of the calling process. Call it again after a fork."""
    pid = os.getpid()
    instance = os.environ.get("BULKHEAD_INSTANCE", "local-1")
    service = os.environ.get("BULKHEAD_SERVICE") or instance.rpartition("-")[0] or instance
    # Field 22 of proc(5). The command name may hold spaces and parentheses, so fields are counted
    # after the last ')'.
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return Identity(service, instance, pid, f"{pid}.{started}")


def request_id(value: str | None) -> str:
    """`value` when it is a well-formed request id, else a new one."""
    if value and REQUEST_ID.fullmatch(value):
        return value
    return uuid.uuid4().hex


def sub_request_id(parent: str, number: int) -> str:
    """The id of sub-request `number`: `<parent>.<number>`, with the parent cut to fit."""
    suffix = f".{number}"
    return parent[: MAX_REQUEST_ID - len(suffix)] + suffix
