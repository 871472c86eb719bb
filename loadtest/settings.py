"""What the environment asks of the load test. The only module that reads environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

SHAPES = ("steady", "ramp", "spike")


@dataclass(frozen=True)
class Settings:
    """What was asked for.

    `proxy_url` is where the load goes unless Locust's own --host says otherwise, `rows` the file
    for the client rows ("" for none), `shape` one of SHAPES. `pace` multiplies every think time of
    every user: 1 as written, 0 for no pause at all.
    """

    proxy_url: str
    rows: str
    shape: str
    pace: float


def read(environment: Mapping[str, str]) -> Settings:
    """The settings of one process.

    Raises:
        ValueError: a variable has a value that is not allowed; the message names both.
    """
    shape = environment.get("BULKHEAD_SHAPE") or "steady"
    if shape not in SHAPES:
        raise ValueError(f"BULKHEAD_SHAPE = {shape!r}: must be one of {', '.join(SHAPES)}")
    proxy_url = environment.get("BULKHEAD_PROXY_URL") or "http://127.0.0.1:8080"
    try:
        address(proxy_url)
    except ValueError as error:
        raise ValueError(f"BULKHEAD_PROXY_URL = {error}") from None
    return Settings(
        proxy_url=proxy_url,
        rows=environment.get("BULKHEAD_CLIENT_ROWS") or "",
        shape=shape,
        pace=_pace(environment.get("BULKHEAD_PACE") or "1"),
    )


def address(base_url: str) -> tuple[str, int]:
    """Host and port of `http://HOST[:PORT]`.

    Raises:
        ValueError: it is anything else.
    """
    refusal = ValueError(f"{base_url!r}: must be http://HOST or http://HOST:PORT")
    try:
        parts = urlsplit(base_url)
        port = parts.port or 80
    except ValueError:
        raise refusal from None
    plain = parts.scheme == "http" and parts.path in ("", "/") and not parts.query
    if not plain or not parts.hostname or parts.username:
        raise refusal
    return parts.hostname, port


def _pace(text: str) -> float:
    try:
        pace = float(text)
    except ValueError:
        pace = -1.0
    if not 0 <= pace <= 1000:
        raise ValueError(f"BULKHEAD_PACE = {text!r}: must be a number from 0 to 1000")
    return pace
