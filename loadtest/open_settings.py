"""What the environment asks of the open-loop load."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
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
    `network` is one that was made for the load, where the stack may be besides the loopback.
    `mix` gives each kind of request its weight, `connections` is the most requests in flight.
    `load_s` is when the load ends by itself: never, if it is infinite.
    """

    proxy_url: str
    network: str
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

    network = get("BULKHEAD_LOAD_NETWORK", "", _network)
    settings = OpenSettings(
        proxy_url=get(
            "BULKHEAD_PROXY_URL", "http://127.0.0.1:8080", lambda text: _proxy_url(text, network)
        ),
        network=network,
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


def target(base_url: str, network: str = "") -> tuple[str, int]:
    """Host and port of `base_url`, which is on this machine: on its loopback or in `network`.

    An open loop does not slow down when its server does: it is no load for anyone else's.

    Raises:
        ValueError: it is not; the message says what it must be.
    """
    wanted = "http://HOST or http://HOST:PORT, and HOST an address of this machine's loopback"
    try:
        host, port = address(base_url)
        host = "127.0.0.1" if host == "localhost" else host
        found = ip_address(host)
        if found.is_loopback or (network and found in ip_network(network)):
            return host, port
    except ValueError:
        pass
    raise ValueError(f"{wanted} or of {network}" if network else wanted)


def _proxy_url(text: str, network: str) -> str:
    target(text, network)
    return text


def _network(text: str) -> str:
    wanted = "a private network of this machine, as 10.203.7.0/24"
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(wanted) from None
    if not network.is_private:
        raise ValueError(wanted)
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
