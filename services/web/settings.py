"""What an instance is told from outside: the BULKHEAD_* environment variables, checked once.

Standard library only: the gunicorn master reads this too, before it forks.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

# Half of HMAC-SHA1's block: anything shorter weakens the signature of the session cookie.
SHORTEST_KEY = 32

Value = TypeVar("Value", int, float)


class SettingsError(ValueError):
    """The environment cannot be used; the message lists every bad variable, one a line."""


@dataclass(frozen=True)
class Settings:
    """The settings of one instance. `rows`, `secret_file`, `admin_dir`: empty means not set.

    `stray_s`: how long the workers of a dead master serve on, if nobody lets them go before.
    """

    address: str = "127.0.0.1:8201"
    proxy_url: str = "http://127.0.0.1:8080"
    rows: str = ""
    secret_file: str = ""
    admin_dir: str = ""
    workers: int = 2
    grace_s: float = 10.0
    stray_s: float = 0.0
    max_body_kb: int = 1024
    api_timeout_s: float = 10.0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """The settings that `environ` gives; a variable that is absent or empty has its default.

        Raises:
            SettingsError: a value is not of its kind or outside its range.
        """
        problems: list[str] = []

        def text(name: str, default: str) -> str:
            return environ.get(name) or default

        def number(
            name: str, kind: Callable[[str], Value], default: Value, least: Value, most: Value
        ) -> Value:
            given = environ.get(name)
            if not given:
                return default
            try:
                value = kind(given)
            except ValueError:
                value = least - 1
            # Written this way round so that nan, which compares false, is refused too.
            if not least <= value <= most:
                word = "an integer" if kind is int else "a number"
                problems.append(f"{name} = {given!r}: must be {word} from {least} to {most}")
            return value

        settings = cls(
            address=text("BULKHEAD_ADDRESS", cls.address),
            proxy_url=text("BULKHEAD_PROXY_URL", cls.proxy_url).rstrip("/"),
            rows=text("BULKHEAD_ROWS", cls.rows),
            secret_file=text("BULKHEAD_SECRET_FILE", cls.secret_file),
            admin_dir=text("BULKHEAD_ADMIN_DIR", cls.admin_dir),
            workers=number("BULKHEAD_WORKERS", int, cls.workers, 1, 64),
            grace_s=number("BULKHEAD_GRACE_S", float, cls.grace_s, 0.1, 3600.0),
            stray_s=number("BULKHEAD_STRAY_S", float, cls.stray_s, 0.0, 3600.0),
            max_body_kb=number("BULKHEAD_MAX_BODY_KB", int, cls.max_body_kb, 1, 1_048_576),
            api_timeout_s=number("BULKHEAD_API_TIMEOUT_S", float, cls.api_timeout_s, 0.1, 600.0),
        )
        if not settings.proxy_url.startswith("http://"):
            problems.append(f"BULKHEAD_PROXY_URL = {settings.proxy_url!r}: must begin with http://")
        if problems:
            raise SettingsError("\n".join(problems))
        return settings


def session_key(path: str) -> bytes:
    """The key in the file `path` that signs session cookies; all instances share one file.

    Raises:
        SettingsError: the file cannot be read or holds too short a key.
    """
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"BULKHEAD_SECRET_FILE = {path!r}: {error.strerror}") from error
    if len(key) < SHORTEST_KEY:
        raise SettingsError(
            f"BULKHEAD_SECRET_FILE = {path!r}: holds {len(key)} bytes, needs {SHORTEST_KEY} or more"
        )
    return key
