"""What every verb's command line has in common: the topology, overrides, and how it speaks."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:  # a verb imports what it needs when it runs: `--help` needs none of it
    from bulkhead.render.paths import Home
    from bulkhead.topology.model import Topology

Run = Callable[[argparse.Namespace], int]
DRILL = "drill."
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
    from bulkhead.topology.load import load

    return load(arguments.topology, assignments(arguments))


def home(arguments: argparse.Namespace) -> "Home":
    """For what must work whatever is wrong in the topology by now."""
    from bulkhead.render.paths import Home
    from bulkhead.topology.load import home_of

    return Home(home_of(arguments.topology, assignments(arguments)))


def assignments(arguments: argparse.Namespace) -> list[str]:
    """Overrides of the topology: from BULKHEAD_SET, then from the command line."""
    return [one for one in _given(arguments) if not one.startswith(DRILL)]


def drill_assignments(arguments: argparse.Namespace) -> list[str]:
    """Overrides of a drill, `drill.load.rate=800` and the like."""
    return [one for one in _given(arguments) if one.startswith(DRILL)]


def _given(arguments: argparse.Namespace) -> list[str]:
    return [*os.environ.get("BULKHEAD_SET", "").split(), *arguments.set]


def colour() -> bool:
    """Whether standard output is a terminal whose user has not asked for plain text."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def say(line: str) -> None:
    """Progress, on standard output."""
    _tell(line, sys.stdout)


def say_aside(line: str) -> None:
    """Progress, where standard output is for a program."""
    _tell(line, sys.stderr)


def _tell(line: str, out: TextIO) -> None:
    """Fall silent when nobody reads any more: what was begun is finished or taken back."""
    try:
        print(line, file=out, flush=True)
    except OSError:
        # The line stays in the buffer; here it can go, and so can all that follows.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
