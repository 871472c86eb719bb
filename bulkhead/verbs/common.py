"""Shared by the verbs: the topology, overrides, and how they print."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bulkhead.errors import UsageError

if TYPE_CHECKING:  # a verb imports what it needs when it runs: `--help` needs none of it
    from bulkhead.render.paths import Home
    from bulkhead.topology.model import Topology

Run = Callable[[argparse.Namespace], int]
DRILL = "drill."  # `drill.load.rate=800` and the like are about a drill
# Adds one verb to the command: its name, what it does, and a line of help.
Add = Callable[[str, Run, str], argparse.ArgumentParser]


def options() -> argparse.ArgumentParser:
    """The options that every verb takes."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--topology",
        type=Path,
        metavar="FILE",
        default=Path(os.environ.get("BULKHEAD_TOPOLOGY", "stack.toml")),
        help="the topology (default: stack.toml, or $BULKHEAD_TOPOLOGY)",
    )
    common.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one setting, e.g. services.api.instances=8; may be repeated "
        "(also: $BULKHEAD_SET, separated by spaces)",
    )
    return common


def topology(arguments: argparse.Namespace) -> "Topology":
    """The topology with every override laid over it."""
    from bulkhead.topology.parse import load

    return load(arguments.topology, assignments(arguments))


def home(arguments: argparse.Namespace) -> "Home":
    """For what must work whatever is wrong in the topology by now."""
    from bulkhead.render.paths import Home
    from bulkhead.topology.parse import home_of

    return Home(home_of(arguments.topology, assignments(arguments)))


def assignments(arguments: argparse.Namespace, of_drill: bool = False) -> list[str]:
    """Overrides of the topology, or of a drill: from BULKHEAD_SET, then from the command line."""
    given = [*os.environ.get("BULKHEAD_SET", "").split(), *arguments.set]
    return [text for text in given if text.startswith(DRILL) == of_drill]


def require_writable(file: Path | None) -> None:
    """Raise UsageError, before a long command, if the file of --junit cannot be written."""
    if file is None:
        return
    try:
        wrong = "is a folder; name a file" if file.is_dir() else ""
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            wrong = "cannot be written: there is no such folder, or it is not yours"
    except OSError as error:
        wrong = f"cannot be written: {error.strerror}"
    if wrong:
        raise UsageError(f"--junit {file}: {wrong}")


def require_range(option: str, value: float, least: int, most: int) -> None:
    """Raise UsageError if a number is out of its range. NaN is in no range."""
    if not least <= value <= most:
        raise UsageError(f"{option} {value}: must be from {least} to {most:,}")


def colour() -> bool:
    """Whether standard output is a terminal whose user has not asked for plain text."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def say(line: str, out: TextIO | None = None) -> None:
    """Print progress, on standard output by default; the command goes on if the reader has gone."""
    out = out or sys.stdout
    try:
        print(line, file=out, flush=True)
    except OSError:
        # The line stays in the buffer; from here on everything goes to /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def say_aside(line: str) -> None:
    """Progress, where standard output is for a program."""
    say(line, sys.stderr)
