"""What the environment asks of the open-loop load."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import pairwise
from typing import TypeVar

import msgspec

from loadtest.arrivals import ARRIVALS, Step
from loadtest.mix import KINDS
from loadtest.settings import address

MIX = (
    '{"get": 40, "list": 5, "post_keyed": 15, "post": 5, "put": 15, "patch": 5, "delete": 5, '
    '"fanout": 5, "page": 5}'
)
MOST_PER_S = 100_000
MOST_S = 86_400
MOST_CONNECTIONS = 5_000  # Locust lets its process open 10,000 files

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class OpenSettings:
    """What was asked for.

    `proxy_url` is where the load goes unless Locust's own --host says otherwise, `rows` the file
    for the client rows ("" for none). `rate` is in arrivals per second, until the first of `steps`;
    `mix` gives each kind of request its weight, `connections` is the most requests in flight.
    `load_s` is when the load ends by itself: never, if it is infinite.
    """

    proxy_url: str
    rows: str
    rate: float
    steps: tuple[Step, ...]
    arrivals: str
    mix: Mapping[str, float]
    seed: int
    request_timeout_s: float
    connections: int
    load_s: float


def read(environment: Mapping[str, str]) -> OpenSettings:
    """The settings of one process.

    Raises:
        ValueError: some variables have values that are not allowed; a line for each of them.
    """
    problems = []

    def get(name: str, default: Value, parse: Callable[[str], Value]) -> Value:
        text = environment.get(name)
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            problems.append(f"{name} = {text!r}: must be {error}")
            return default

    settings = OpenSettings(
        proxy_url=get("BULKHEAD_PROXY_URL", "http://127.0.0.1:8080", _proxy_url),
        rows=environment.get("BULKHEAD_CLIENT_ROWS") or "",
        rate=get("BULKHEAD_RATE", 100.0, lambda text: _number(text, MOST_PER_S)),
        steps=get("BULKHEAD_STEPS", (), _steps),
        arrivals=get("BULKHEAD_ARRIVALS", "poisson", _arrivals),
        mix=get("BULKHEAD_MIX", _mix(MIX), _mix),
        seed=get("BULKHEAD_SEED", 1, lambda text: _integer(text, 0, 2**63 - 1)),
        request_timeout_s=get(
            "BULKHEAD_REQUEST_TIMEOUT_S", 12.0, lambda text: _number(text, MOST_S)
        ),
        connections=get(
            "BULKHEAD_CONNECTIONS", 500, lambda text: _integer(text, 1, MOST_CONNECTIONS)
        ),
        load_s=get("BULKHEAD_LOAD_S", math.inf, lambda text: _number(text, MOST_S)),
    )
    if problems:
        raise ValueError("\n".join(problems))
    return settings


def loopback(base_url: str) -> tuple[str, int]:
    """Host and port of `base_url`, which is on this machine.

    An open loop does not slow down when its server does: it is no load for anyone else's.

    Raises:
        ValueError: it is not; the message says what it must be.
    """
    wanted = "http://HOST or http://HOST:PORT, and HOST an address of this machine's loopback"
    try:
        host, port = address(base_url)
        host = "127.0.0.1" if host == "localhost" else host
        if ip_address(host).is_loopback:
            return host, port
    except ValueError:
        pass
    raise ValueError(wanted)


def _proxy_url(text: str) -> str:
    loopback(text)
    return text


def _arrivals(text: str) -> str:
    if text not in ARRIVALS:
        raise ValueError(f"one of {', '.join(ARRIVALS)}")
    return text


def _steps(text: str) -> tuple[Step, ...]:
    try:
        steps = msgspec.json.decode(text, type=tuple[Step, ...])
    except msgspec.DecodeError:
        steps = ((0.0, 0.0),)
    moments = [0.0, *(moment for moment, _ in steps)]
    if any(later <= earlier for earlier, later in pairwise(moments)) or not all(
        0 < rate <= MOST_PER_S for _, rate in steps
    ):
        raise ValueError(
            "a JSON list of [second, rate], the seconds above 0 and rising, "
            f"the rates above 0, at most {MOST_PER_S:,}"
        )
    return steps


def _mix(text: str) -> dict[str, float]:
    try:
        mix = msgspec.json.decode(text, type=dict[str, float])
    except msgspec.DecodeError:
        mix = {}
    if not mix.keys() <= KINDS.keys() or not any(mix.values()) or min(mix.values()) < 0:
        raise ValueError(f"a JSON object of weights, not all 0, for any of {', '.join(KINDS)}")
    return mix


def _number(text: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= most:
        raise ValueError(f"a number above 0, at most {most:,}")
    return number


def _integer(text: str, least: int, most: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise ValueError(f"an integer from {least} to {most}")
    return number
