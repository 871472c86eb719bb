"""Jinja set up for configuration files: undefined names are errors, quoting is done by filters."""

import shlex
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def environment(folder: Path) -> Environment:
    """Templates of one folder, with the filters that configuration text needs."""
    templates = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # configuration text, not HTML; quoting is explicit
    )
    templates.filters["quoted"] = nginx_quoted
    templates.filters["seconds"] = nginx_seconds
    return templates


def nginx_quoted(word: Path | str) -> str:
    """One word for nginx: quoted only where it must be, so that the file stays readable."""
    return f'"{word}"' if " " in str(word) else str(word)


def nginx_seconds(seconds: float) -> str:
    """A time for nginx, which knows whole numbers only: `10s`, or `500ms`."""
    return f"{seconds:g}s" if seconds == int(seconds) else f"{round(seconds * 1000)}ms"


def supervisor_command(words: Iterable[str | Path]) -> str:
    """A command line for supervisord, which splits it like a shell and expands `%`."""
    return supervisor_percent(shlex.join(str(word) for word in words))


def supervisor_environment(variables: dict[str, str]) -> str:
    """`KEY="value",...` for supervisord's `environment=`, which has quotes but no escapes."""
    assert not any('"' in value for value in variables.values()), "the topology refuses quotes"
    quoted = (f'{key}="{value}"' for key, value in variables.items())
    return supervisor_percent(",".join(quoted))


def supervisor_percent(text: str) -> str:
    """`%` starts an expansion in every value of supervisord's file."""
    return text.replace("%", "%%")
