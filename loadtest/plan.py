"""The plan of one open-loop load: which requests, when, on how many connections, until when."""

import math
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from loadtest import mix
from loadtest.arrivals import schedule
from loadtest.exchange import Address
from loadtest.mix import Kind
from loadtest.open_settings import OpenSettings, target
from loadtest.share import WHOLE, Share
from loadtest.stencil import Stencil
from loadtest.stock import Stock


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`kinds` are to be sent at `moments`, which are seconds from the start, until `end_s`.

    They are those of the `share`.
    """

    story: str
    share: Share
    moments: Iterator[float]
    kinds: Iterator[Kind]
    stencils: dict[str, Stencil]
    stock: Stock
    address: Address
    end_s: float
    timeout_s: float
    connections: int


def planned(asked: OpenSettings, base_url: str, share: Share = WHOLE) -> Plan:
    """The share of what is asked for, against the stack at `base_url`.

    Raises:
        ValueError: the stack is not on this machine; the message says what the URL must be.
    """
    family, _, _, _, address = socket.getaddrinfo(
        *target(base_url, asked.network), type=socket.SOCK_STREAM
    )[0]
    host = urlsplit(base_url).netloc
    until = "until stopped" if math.isinf(asked.load_s) else f"for {asked.load_s:g} s"
    first = mix.seeds(asked.mix, asked.rate)
    return Plan(
        story=f"{_rates(asked)} arrivals per second ({asked.arrivals}, seed {asked.seed}) {until}, "
        f"against {base_url}" + (f", part {share.index + 1} of {share.of}" if share.of > 1 else ""),
        share=share,
        moments=share.part(schedule(asked.arrivals, asked.rate, asked.seed, asked.steps)),
        kinds=share.part(mix.sequence(asked.mix, asked.seed, first)),
        stencils={name: Stencil(kind, host) for name, kind in mix.KINDS.items()},
        # With no entry of its own a worker could not read any.
        stock=Stock(max(1, share.portion(first)) if first else 0, asked.seed),
        address=(family, address),
        end_s=asked.load_s,
        timeout_s=asked.request_timeout_s,
        connections=max(1, share.portion(asked.connections)),
    )


def _rates(asked: OpenSettings) -> str:
    """`300, from 7 s on 1800`."""
    return ", ".join(
        [f"{asked.rate:g}", *(f"from {moment:g} s on {rate:g}" for moment, rate in asked.steps)]
    )
