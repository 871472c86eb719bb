"""The topology: what stack.toml says, as frozen values with every default and every limit.

Units are in the names (`_s`, `_kb`). Cross-field rules live in checks.py; this module knows one
field at a time.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,19}$")]
Address = Annotated[str, Field(pattern=r"^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:]+\]):\d{1,5}$")]
Host = Annotated[str, Field(pattern=r"^\d{1,3}(\.\d{1,3}){3}$")]
# Of a machine or a container; "" where there is only one.
HostName = Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,31})?$")]
Place = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*:\d{1,5}$")]
# No password in it: this file is in a repository.
LedgerUrl = Annotated[
    str,
    Field(pattern=r"^((postgresql|mariadb)://[A-Za-z0-9_.-]+@[A-Za-z0-9.:-]+/[A-Za-z0-9_-]+)?$"),
]
Role = Literal["all", "proxy", "application"]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0.01, le=3600)]
Route = Annotated[str, Field(pattern=r"^/([A-Za-z0-9._~-]+/)*$")]
# nginx variables and plain text; nothing that could end the directive or open a block.
HashKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_$.:/-]+$")]
App = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*(:[A-Za-z_]\w*)?$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
# supervisord's `environment=` has no escapes: a quote ends it, " ;" and " #" start a comment.
EnvValue = Annotated[str, Field(pattern=r"^[^\"';#\p{Cc}\p{Zl}\p{Zp}]*$")]
# The name of a file, or what is printed: no NUL, no end of a line, nothing that cannot be printed.
Line = Annotated[str, Field(pattern=r"^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$")]
# A worker of nginx needs some for its upstreams and its internal listener.
LEAST_CONNECTIONS = 64
Policy = Literal["round_robin", "least_conn", "ip_hash", "hash", "random_two"]


class Section(BaseModel):
    """A table of stack.toml: typed strictly, frozen, and closed to unknown keys."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", validate_default=True)


class StackSection(Section):
    """Which stack this is and where it lives."""

    name: Name = "bulkhead"
    home: Annotated[Line, Field(min_length=1)] = "var"
    rows: bool = True
    rows_max_mb: Annotated[int, Field(ge=0, le=1_048_576)] = 1024
    rows_keep: Annotated[int, Field(ge=1, le=1000)] = 5
    admin: bool = True
    watch: bool = True
    ledger_url: LedgerUrl = ""
    ledger_password_file: Line = ""
    session_key_file: Line = ""


class HostsSection(Section):
    """A stack of several hosts: what this one does, and how they find each other."""

    role: Role = "all"
    name: HostName = ""
    hear: Annotated[str, Field(pattern=r"^(\d{1,3}(\.\d{1,3}){3}:\d{1,5})?$")] = ""
    tell: list[Place] = []
    url: Annotated[str, Field(pattern=r"^(http://[A-Za-z0-9][A-Za-z0-9.-]*:\d{1,5})?$")] = ""
    key_file: Line = ""


class ProxySection(Section):
    """nginx: its public listener, its limits, and how it retries on another instance."""

    program: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]+$")] = "nginx"
    listen: Address = "127.0.0.1:8080"
    allow_remote: bool = False
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    connections: Annotated[int, Field(ge=LEAST_CONNECTIONS, le=100_000)] = 8192
    client_requests: Annotated[int, Field(ge=1, le=100_000)] = 4096
    grace_s: Seconds = 10
    max_body_kb: Annotated[int, Field(ge=1, le=1_048_576)] = 1024
    max_header_kb: Annotated[int, Field(ge=1, le=64)] = 8
    header_timeout_s: Seconds = 10
    client_timeout_s: Seconds = 30
    # nginx takes no less than one of its buffers of 16 KB.
    answer_file_kb: Annotated[int, Field(ge=16, le=1_048_576)] = 1024
    keepalive_s: Seconds = 65
    tries: Annotated[int, Field(ge=1, le=64)] = 4
    tries_s: Seconds = 20
    connect_s: Seconds = 1
    balancer: Literal["watched", "nginx"] = "watched"
    queue_timeout_s: Annotated[float, Field(ge=0, le=60)] = 5
    queue_max: Annotated[int, Field(ge=0, le=100_000)] = 2000
    queue_busy_timeout_s: Annotated[float, Field(ge=0, le=60)] = 2
    retry_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    retry_burst: Annotated[int, Field(ge=0, le=10_000)] = 100
    closing_s: Annotated[float, Field(ge=0, le=60)] = 1
    upstream_idle: Annotated[int, Field(ge=1, le=1024)] = 64
    # Below the idle time of every service (75 s): who closes first must be who sends requests.
    upstream_idle_s: Annotated[float, Field(ge=1, le=70)] = 60


class ServiceSection(Section):
    """One service: what runs, how many times, where, and which requests it gets."""

    kind: Literal["tornado", "gunicorn"]
    app: App | None = None
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    workers: Annotated[int, Field(ge=1, le=16)] = 1
    host: Host = "127.0.0.1"
    port: Port
    routes: Annotated[list[Route], Field(min_length=1)]
    static: Line | None = None
    policy: Policy = "round_robin"
    weights: list[Annotated[int, Field(ge=1, le=100)]] | None = None
    hash_key: HashKey | None = None
    hash_consistent: bool = True
    max_fails: Annotated[int, Field(ge=0, le=1000)] = 0
    fail_timeout_s: Annotated[int, Field(ge=1, le=3600)] = 1
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    hang_s: Annotated[float, Field(ge=0, le=3600)] = 0.5
    timeout_s: Seconds = 10
    grace_s: Seconds = 10
    boot_s: Seconds = 15
    env: dict[EnvName, EnvValue] = {}


class HomeFile(Section):
    """The part of the file that says where the stack lives."""

    stack: StackSection = StackSection()


class TopologyFile(HomeFile):
    """The whole file."""

    proxy: ProxySection = ProxySection()
    hosts: HostsSection = HostsSection()
    services: Annotated[dict[Name, ServiceSection], Field(min_length=1)]


@dataclass(frozen=True)
class Instance:
    """One supervised process group of a service, at one address."""

    name: str
    service: str
    host: str
    port: int
    weight: int

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Topology:
    """stack.toml, resolved: its sections, absolute paths, and one flat record per instance."""

    file: TopologyFile
    proxy: ProxySection
    hosts: HostsSection
    services: dict[str, ServiceSection]  # by name, in the file's order
    root: Path  # the checkout: where services/ and the templates are
    home: Path  # where everything that the stack writes lives
    source: str  # the file's name, for messages and headers

    @property
    def has_proxy(self) -> bool:
        """Whether this host runs nginx."""
        return self.hosts.role != "application"

    @property
    def url(self) -> str:
        """Where a client of this host reaches the stack."""
        if self.hosts.url:
            return self.hosts.url
        host, _, port = self.proxy.listen.rpartition(":")
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"

    def instances(self, service: str | None = None) -> list[Instance]:
        """Every instance of this host, or those of one service, in the order of the file.

        Where there are several hosts a name ends in that of its host: `api-1.app-a`.
        """
        if self.hosts.role == "proxy":
            return []
        host = f".{self.hosts.name}" if self.hosts.name else ""
        return [
            Instance(f"{name}-{number}{host}", name, one.host, one.port + number - 1, weight)
            for name, one in self.services.items()
            if service in (None, name)
            for number, weight in enumerate(one.weights or [1] * one.instances, 1)
        ]
