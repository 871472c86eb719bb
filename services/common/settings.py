"""The settings of an instance: the BULKHEAD_* environment variables, checked as a whole.

Standard library only: the gunicorn master reads this too, before it forks.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

WHOLE = re.compile(r"[0-9]{1,9}")
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
SQLITE_URL = re.compile(r"sqlite:///.+")
# No password: what is in an environment is in `ps e`, in logs and in bug reports.
SERVER_URL = re.compile(r"(postgresql|mariadb)://[^/?#\s@:]+@[^/?#\s@]+/[A-Za-z0-9_-]+")
# A password, perhaps, in a URL that is refused: before the last @, and behind a ?.
SECRET = re.compile(r"(?<=://).*(?=@)|(?<=\?).*")
PROXY_URL = re.compile(r"https?://[^/?#\s@]+")
# Half of HMAC-SHA1's block: anything shorter weakens the signature of the session cookie.
SHORTEST_KEY = 32

Number = TypeVar("Number", int, float)


class SettingsError(ValueError):
    """The environment is not usable; the message has a line for each wrong variable."""


class Settings:
    """Base of dataclasses whose fields are read from environment variables; see `_variable`."""

    empty_is_absent: ClassVar[bool] = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """The settings in `environ`; a variable that is absent has its default.

        SettingsError if one or more variables have an unusable value; all of them are named.
        """
        values: dict[str, Any] = {}
        problems = []
        for one in fields(cls):  # type: ignore[arg-type]  # each subclass is a dataclass
            name, parse = one.metadata["name"], one.metadata["parse"]
            text = environ.get(name)
            if text is None or (cls.empty_is_absent and not text):
                continue
            try:
                values[one.name] = parse(text)
            except ValueError as error:
                problems.append(f"{name} = {SECRET.sub('***', text)!r}: must {error}")
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(**values)


def _variable(
    name: str, default: str = "", parse: Callable[[str], Any] = str, show: bool = True
) -> Any:
    """A field that BULKHEAD_`name` gives; `parse` raises ValueError with what the value must do."""
    metadata = {"name": f"BULKHEAD_{name}", "parse": parse}
    return field(default=parse(default), repr=show, metadata=metadata)


def _matching(wanted: str, *patterns: re.Pattern[str]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if not any(pattern.fullmatch(value) for pattern in patterns):
            raise ValueError(wanted)
        return value

    return parse


def _whole(least: int, most: int, wanted: str = "") -> Callable[[str], int]:
    wanted = wanted or f"be an integer from {least} to {most}"
    return lambda value: _within(int(_matching(wanted, WHOLE)(value)), least, most, wanted)


def _seconds(least: float, most: float, wanted: str = "") -> Callable[[str], float]:
    wanted = wanted or f"be a number from {least} to {most}"
    return lambda value: _within(float(_matching(wanted, SECONDS)(value)), least, most, wanted)


def _within(number: Number, least: Number, most: Number, wanted: str) -> Number:
    if not least <= number <= most:
        raise ValueError(wanted)
    return number


def _password(path: str) -> str:
    try:
        return Path(path).read_text().strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError("be the path of a file that can be read") from error


def _address(value: str) -> str:
    wanted = "be HOST:PORT with a port from 1 to 65535, such as 127.0.0.1:8101"
    port = _matching(wanted, ADDRESS)(value).rpartition(":")[2]
    _within(int(port), 1, 65535, wanted)
    return value


def _milliseconds(most: int) -> Callable[[str], int]:
    return _whole(0, most, f"be whole milliseconds up to {most}")


def _kilobytes(value: str) -> int:
    return 1024 * _whole(1, 1024 * 1024, "be whole kilobytes from 1 to 1048576")(value)


def _api_proxy(value: str) -> str:
    wanted = "be http://HOST:PORT without a path, such as http://127.0.0.1:8080"
    return _matching(wanted, PROXY_URL)(value.removesuffix("/"))


def _web_proxy(value: str) -> str:
    return _matching("begin with http://", re.compile("http://.*"))(value).rstrip("/")


_grace = _seconds(0, 3600, "be seconds from 0 to 3600, such as 10")
_name = _matching("be 1 to 64 of A-Z a-z 0-9 . _ -", NAME)
_ledger = _matching(
    "be sqlite:///PATH, postgresql://USER@HOST:PORT/NAME or mariadb://USER@HOST:PORT/NAME, "
    "the password in a file that BULKHEAD_LEDGER_PASSWORD_FILE names",
    SQLITE_URL,
    SERVER_URL,
)


@dataclass(frozen=True)
class ApiSettings(Settings):
    """The settings of an API instance."""

    instance: str = _variable("INSTANCE", "local-1", _name)
    service: str = _variable("SERVICE", "api", _name)
    # HOST:PORT, as it is written in messages.
    address: str = _variable("ADDRESS", "127.0.0.1:8101", _address)
    proxy_url: str = _variable("PROXY_URL", "http://127.0.0.1:8080", _api_proxy)
    rows: str = _variable("ROWS")
    grace_s: float = _variable("GRACE_S", "10", _grace)
    max_body_bytes: int = _variable("MAX_BODY_KB", "1024", _kilobytes)
    ledger_url: str = _variable("LEDGER_URL", "sqlite:///var/data/ledger.sqlite3", _ledger)
    ledger_password: str = _variable("LEDGER_PASSWORD_FILE", "", _password, show=False)
    admin_dir: str = _variable("ADMIN_DIR")
    # The longest wait of GET /api/v1/work (0: it is not served), and the most that it computes.
    work_ms: int = _variable("WORK_MS", "60000", _milliseconds(60_000))
    work_cpu_ms: int = _variable("WORK_CPU_MS", "10000", _milliseconds(10_000))

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Where to listen."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class WebSettings(Settings):
    """The settings of a web instance; an empty variable counts as absent."""

    empty_is_absent = True

    address: str = _variable("ADDRESS", "127.0.0.1:8201")
    rows: str = _variable("ROWS")
    secret_file: str = _variable("SECRET_FILE")
    admin_dir: str = _variable("ADMIN_DIR")
    workers: int = _variable("WORKERS", "2", _whole(1, 64))
    grace_s: float = _variable("GRACE_S", "10", _seconds(0.1, 3600.0))
    # How long workers serve on after the death of their master.
    orphan_s: float = _variable("ORPHAN_S", "0", _seconds(0.0, 3600.0))
    max_body_kb: int = _variable("MAX_BODY_KB", "1024", _whole(1, 1_048_576))
    api_timeout_s: float = _variable("API_TIMEOUT_S", "10", _seconds(0.1, 600.0))
    proxy_url: str = _variable("PROXY_URL", "http://127.0.0.1:8080", _web_proxy)


def session_key(path: str) -> bytes:
    """The key in the file `path` that signs session cookies; all instances share one file.

    SettingsError if the file cannot be read or holds too short a key.
    """
    shown = f"BULKHEAD_SECRET_FILE = {path!r}"
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"{shown}: {error.strerror}") from error
    if len(key) < SHORTEST_KEY:
        raise SettingsError(f"{shown}: holds {len(key)} bytes, needs {SHORTEST_KEY} or more")
    return key
