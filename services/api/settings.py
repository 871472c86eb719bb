"""The settings of one instance, read from the environment and checked as a whole."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

WHOLE = re.compile(r"[0-9]{1,9}")
SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]+)?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
SQLITE_URL = re.compile(r"sqlite:///.+")
# No password: what is in an environment is in `ps e`, in logs and in bug reports.
SERVER_URL = re.compile(r"(postgresql|mariadb)://[^/?#\s@:]+@[^/?#\s@]+/[A-Za-z0-9_-]+")
# What may be a password in a URL that is refused: before the last @, and behind a ?.
SECRET = re.compile(r"(?<=://).*(?=@)|(?<=\?).*")
PROXY_URL = re.compile(r"https?://[^/?#\s@]+")

Value = TypeVar("Value")
Number = TypeVar("Number", int, float)


class SettingsError(Exception):
    """The environment is not usable; `problems` has a line for each wrong variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Settings:
    """Where to listen, what to call, what to write and what to refuse."""

    host: str
    port: int
    proxy_url: str
    rows: str
    grace_s: float
    max_body_bytes: int
    ledger_url: str
    ledger_password: str = field(repr=False)
    admin_dir: str

    @property
    def address(self) -> str:
        """Where to listen, as it is written in messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`; a variable that is absent has its default.

    Raises:
        SettingsError: one or more variables have an unusable value; all of them are named.
    """
    problems: list[str] = []

    def read(name: str, default: str, parse: Callable[[str], Value], wanted: str) -> Value | None:
        value = environ.get(name, default)
        try:
            return parse(value)
        except ValueError:
            shown = SECRET.sub("***", value)
            problems.append(f"{name} = {shown!r}: must be {wanted}")
            return None

    read("BULKHEAD_INSTANCE", "local-1", _name, "1 to 64 of A-Z a-z 0-9 . _ -")
    read("BULKHEAD_SERVICE", "api", _name, "1 to 64 of A-Z a-z 0-9 . _ -")
    address = read(
        "BULKHEAD_ADDRESS",
        "127.0.0.1:8101",
        _address,
        "HOST:PORT with a port from 1 to 65535, such as 127.0.0.1:8101",
    )
    proxy_url = read(
        "BULKHEAD_PROXY_URL",
        "http://127.0.0.1:8080",
        _proxy_url,
        "http://HOST:PORT without a path, such as http://127.0.0.1:8080",
    )
    grace_s = read("BULKHEAD_GRACE_S", "10", _grace_s, "seconds from 0 to 3600, such as 10")
    max_body_kb = read(
        "BULKHEAD_MAX_BODY_KB", "1024", _max_body_kb, "whole kilobytes from 1 to 1048576"
    )
    ledger_url = read(
        "BULKHEAD_LEDGER_URL",
        "sqlite:///var/data/ledger.sqlite3",
        _ledger_url,
        "sqlite:///PATH, postgresql://USER@HOST:PORT/NAME or mariadb://USER@HOST:PORT/NAME, the "
        "password in a file that BULKHEAD_LEDGER_PASSWORD_FILE names",
    )
    ledger_password = read(
        "BULKHEAD_LEDGER_PASSWORD_FILE", "", _password, "the path of a file that can be read"
    )
    if address is None or proxy_url is None or grace_s is None:
        raise SettingsError(problems)
    if max_body_kb is None or ledger_url is None or ledger_password is None or problems:
        raise SettingsError(problems)
    return Settings(
        host=address[0],
        port=address[1],
        proxy_url=proxy_url,
        rows=environ.get("BULKHEAD_ROWS", ""),
        grace_s=grace_s,
        max_body_bytes=max_body_kb * 1024,
        ledger_url=ledger_url,
        ledger_password=ledger_password,
        admin_dir=environ.get("BULKHEAD_ADMIN_DIR", ""),
    )


def _name(value: str) -> str:
    return _matching(NAME, value).group()


def _address(value: str) -> tuple[str, int]:
    host, port = _matching(ADDRESS, value).groups()
    return host.strip("[]"), _between(int(port), 1, 65535)


def _proxy_url(value: str) -> str:
    return _matching(PROXY_URL, value.removesuffix("/")).group()


def _grace_s(value: str) -> float:
    return _between(float(_matching(SECONDS, value).group()), 0, 3600)


def _max_body_kb(value: str) -> int:
    return _between(int(_matching(WHOLE, value).group()), 1, 1024 * 1024)


def _ledger_url(value: str) -> str:
    if not SQLITE_URL.fullmatch(value) and not SERVER_URL.fullmatch(value):
        raise ValueError(value)
    return value


def _password(path: str) -> str:
    try:
        return Path(path).read_text().strip() if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(path) from error


def _matching(pattern: re.Pattern[str], value: str) -> re.Match[str]:
    match = pattern.fullmatch(value)
    if match is None:
        raise ValueError(value)
    return match


def _between(number: Number, low: Number, high: Number) -> Number:
    if not low <= number <= high:
        raise ValueError(number)
    return number
