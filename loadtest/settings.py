"""The settings of a load: one JSON file, read and validated once when Locust starts.

The environment variable BULKHEAD_LOAD_SETTINGS names the file; without it every setting has its
default. A setting that is null has its default, too.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from loadtest.requests import KINDS
from loadtest.schedule import ARRIVALS, SHARES, Step

FILE = "BULKHEAD_LOAD_SETTINGS"

MIX = {
    "get": 40.0, "list": 5.0, "post_keyed": 15.0, "post": 5.0, "put": 15.0, "patch": 5.0,
    "delete": 5.0, "fanout": 5.0, "page": 5.0,
}  # fmt: skip
MOST_PER_S = 100_000
MOST_S = 86_400
MOST_CONNECTIONS = 5_000  # Locust lets its process open 10,000 files
MOST_WORKERS = 1000


def _must(check: Callable[[Any], bool], be: str) -> Meta:
    return Meta(description=be, extra={"check": check})


def _positive(most: float) -> Meta:
    return Meta(gt=0, le=most, description=f"a number above 0, at most {most:,}")


def _integer(least: int, most: int) -> Meta:
    return Meta(ge=least, le=most, description=f"an integer from {least} to {most}")


def _one_of(*names: str) -> Meta:
    return _must(names.__contains__, f"one of {', '.join(names)}")


def _is_private(text: str) -> bool:
    try:
        return not text or ip_network(text).is_private
    except ValueError:
        return False


def _are_steps(steps: tuple[Step, ...]) -> bool:
    moments = [0.0, *(moment for moment, _ in steps)]
    rising = all(earlier < later for earlier, later in pairwise(moments))
    return rising and all(0 < rate <= MOST_PER_S for _, rate in steps)


def _is_mix(mix: dict[str, float]) -> bool:
    return mix.keys() <= KINDS.keys() and any(mix.values()) and min(mix.values()) >= 0


_STEPS = (
    "a list of [second, rate], the seconds above 0 and rising, the rates above 0, "
    f"at most {MOST_PER_S:,}"
)
_WEIGHTS = f"an object of weights, not all 0, for any of {', '.join(KINDS)}"
_Text = Annotated[str, Meta(description="a string")]
_Seconds = Annotated[float, _positive(MOST_S)]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of both kinds of load; docs/load.md has their meaning."""

    proxy_url: _Text = "http://127.0.0.1:8080"  # address() looks at it more closely
    rows: _Text = ""
    worker: Annotated[int, _integer(0, MOST_WORKERS - 1)] | None = None
    port_file: _Text = ""
    parent_pid: Annotated[int, _integer(1, 2**31)] | None = None

    def address(self, base_url: str) -> tuple[str, int]:
        """Host and port of `base_url`; a ValueError says what it must be for this load."""
        return address(base_url)


@dataclass(frozen=True, kw_only=True)
class ClosedSettings(Settings):
    """Settings of the closed loop, besides."""

    shape: Annotated[str, _one_of("steady", *SHARES)] = "steady"
    pace: Annotated[float, Meta(ge=0, le=1000, description="a number from 0 to 1000")] = 1.0
    work: Annotated[bool, Meta(description="true or false")] = True


@dataclass(frozen=True, kw_only=True)
class OpenSettings(Settings):
    """Settings of the open loop, besides. Infinite seconds are never."""

    network: Annotated[
        str, _must(_is_private, "a private network of this machine, as 10.203.7.0/24")
    ] = ""
    rate: Annotated[float, _positive(MOST_PER_S)] = 100.0
    steps: Annotated[tuple[Step, ...], _must(_are_steps, _STEPS)] = ()
    arrivals: Annotated[str, _one_of(*ARRIVALS)] = "poisson"
    mix: Annotated[dict[str, float], _must(_is_mix, _WEIGHTS)] = field(default_factory=MIX.copy)
    seed: Annotated[int, _integer(0, 2**63 - 1)] = 1
    request_timeout_s: _Seconds = 12.0
    give_up_s: _Seconds = math.inf
    connections: Annotated[int, _integer(1, MOST_CONNECTIONS)] = 500
    load_s: _Seconds = math.inf

    def address(self, base_url: str) -> tuple[str, int]:
        """Host and port of `base_url`, which is on this machine: on its loopback or in `network`.

        An open loop does not slow down when its server does, so it must not meet another's server.
        """
        must_be = "http://HOST or http://HOST:PORT, and HOST an address of this machine's loopback"
        with suppress(ValueError):
            host, port = address(base_url)
            host = "127.0.0.1" if host == "localhost" else host
            ip = ip_address(host)
            if ip.is_loopback or (self.network and ip in ip_network(self.network)):
                return host, port
        raise ValueError(f"{must_be} or of {self.network}" if self.network else must_be)


# Each setting was a variable of its own before: BULKHEAD_ and its name, but for these.
_OLD_NAMES = {
    "rows": "CLIENT_ROWS", "worker": "LOAD_WORKER", "port_file": "LOAD_PORT_FILE",
    "network": "LOAD_NETWORK",
}  # fmt: skip

Chosen = TypeVar("Chosen", bound=Settings)


def read(kind: type[Chosen], environment: Mapping[str, str]) -> Chosen:
    """The settings of this process; a ValueError has a line for each mistake in the file."""
    if problems := [
        f"{was} is called {each.name} in the file {FILE} now"
        for each in fields(kind)
        if environment.get(was := f"BULKHEAD_{_OLD_NAMES.get(each.name, each.name.upper())}")
    ]:
        raise ValueError("\n".join(problems))
    path = environment.get(FILE)
    if not path:
        return kind()
    try:
        return validated(kind, msgspec.json.decode(Path(path).read_bytes(), type=dict[str, Any]))
    except OSError as error:
        raise ValueError(f"{FILE} = {path!r}: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError("\n".join(f"{path}: {line}" for line in str(error).split("\n"))) from None


def validated(kind: type[Chosen], given: Mapping[str, Any]) -> Chosen:
    """Settings with these values, the others by default; ValueError: a line for each mistake."""
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    problems = []
    for name, value in given.items():
        if name not in hints:
            problems.append(f"{name}: there is no such setting (known: {', '.join(hints)})")
        elif value is not None:
            try:
                values[name] = _converted(value, hints[name])
            except ValueError as error:
                problems.append(f"{name} = {_shown(value)}: must be {error}")
    settings = kind(**values)
    try:
        settings.address(settings.proxy_url)
    except ValueError as error:
        problems.append(f"proxy_url = {_shown(settings.proxy_url)}: must be {error}")
    if problems:
        raise ValueError("\n".join(problems))
    return settings


def _converted(value: object, hint: Any) -> Any:
    """The value of a setting, whose type has its rule; a ValueError says what it must be."""
    while get_origin(hint) is not Annotated:  # it may be None, too
        hint = get_args(hint)[0]
    meta: Meta = get_args(hint)[1]
    try:
        converted = msgspec.convert(value, hint)
    except msgspec.ValidationError:
        raise ValueError(meta.description) from None
    if meta.extra and not meta.extra["check"](converted):
        raise ValueError(meta.description)
    return converted


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()


def address(base_url: str) -> tuple[str, int]:
    """Host and port of `http://HOST[:PORT]`; a ValueError says what it must be."""
    refusal = ValueError("http://HOST or http://HOST:PORT")
    try:
        parts = urlsplit(base_url)
        port = parts.port or 80
    except ValueError:
        raise refusal from None
    plain = parts.scheme == "http" and parts.path in ("", "/") and not parts.query
    if not plain or not parts.hostname or parts.username:
        raise refusal
    return parts.hostname, port
