"""Rendered files: the templates with the quoting of each language, and the one way to write them.

Undefined names in a template are errors; quoting is done by filters.
"""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bulkhead.atomic import replace


@dataclass(frozen=True)
class File:
    """One file to be written: where, what, and with which permissions."""

    path: Path
    text: str
    mode: int = 0o600


def write_all(files: Iterable[File]) -> None:
    """Write every file atomically: a reader sees the old text or the new, never a part.

    Also after a power cut: it is on the disk when this returns.
    """
    for file in files:
        file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace(file.path, file.text, file.mode, durable=True)


def text_of(path: Path) -> str:
    """The present content of a rendered file; empty when there is none."""
    return path.read_text(errors="replace") if path.exists() else ""


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
    templates.filters |= {
        "quoted": nginx_quoted,
        "seconds": nginx_seconds,
        "milliseconds": lambda seconds: round(seconds * 1000),
        "percent": supervisor_percent,
    }
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


def supervisor_percent(text: Path | str) -> str:
    """`%` starts an expansion in every value of supervisord's file."""
    return str(text).replace("%", "%%")
