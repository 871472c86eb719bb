"""The `bulkhead` command: verbs/ has what each does; only here errors are printed and coded."""

import argparse
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from bulkhead import __version__, interrupts
from bulkhead.errors import BulkheadError
from bulkhead.report.columns import plain
from bulkhead.verbs import common, drill, load, operate, runs, stack

SYSTEM = 71  # the system refused: disk full, no permission (sysexits.h: EX_OSERR)
DEFECT = 70  # sysexits.h: EX_SOFTWARE

WIDEST = 1000  # characters of a line of complaint: what was wrong may be a whole file
ENDS = 300  # of what is too long, so many are shown of either end

EPILOG = """\
examples:
  bulkhead up                                      start the stack described by stack.toml
  bulkhead up --set services.api.instances=8       the same, with eight Tornado instances
  bulkhead status --json                           for programs
  bulkhead roll api                                replace every api process, one by one
  bulkhead load --time 60 --users 100              a longer, heavier load
  bulkhead logs api-1 --follow                     what one instance prints
  bulkhead drill kill-one --seed 7                 break a stack of its own, and judge it
  bulkhead sql RUN "from causes"                   ask a run's account whatever you like

exit codes:
  0 done, or PASS    1 degraded, requests failed, or FAIL    2 wrong command line, or INVALID
  3 wrong topology or drill
  4 a program is missing    5 the stack is not in the needed state    6 not ready in time
  7 the evidence does not add up    70 a defect of bulkhead    71 the system refused
  130 interrupted (128 + the signal's number)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what was asked for may be no text
    arguments = _parser().parse_args(argv)
    os.umask(0o077)  # what a stack writes belongs to the user who runs it
    interrupts.install()
    try:
        return int(arguments.verb(arguments))
    except BulkheadError as error:
        for line in error.lines:
            _complain(line if line.startswith(" ") else f"bulkhead: {line}")
        return error.code
    except BrokenPipeError:
        # The reader has gone. Exit non-zero: unread output must not pass as success.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except interrupts.Interrupted as interrupted:
        print(f"bulkhead: ended by {interrupted}", file=sys.stderr)
        return 128 + interrupted.number
    except OSError as error:
        _complain(f"bulkhead: {error}")
        return SYSTEM
    except Exception:
        traceback.print_exc()
        print("bulkhead: this is a defect of bulkhead itself", file=sys.stderr)
        return DEFECT


def _complain(line: str) -> None:
    """Print one line, whatever is in it: what is no character of a text is shown by its number."""
    if len(line) > WIDEST:
        line = f"{line[:ENDS]} ({len(line) - 2 * ENDS:,} more characters) {line[-ENDS:]}"
    print(plain(line.expandtabs()), file=sys.stderr)


class Parser(argparse.ArgumentParser):
    """Complains in one line, as every verb does."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        _complain(f"{self.prog}: {message} (see {self.prog} --help)")
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(
        prog="bulkhead",
        description=sys.modules["bulkhead"].__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bulkhead {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB", title="verbs")
    options = common.options()

    def verb(name: str, run: common.Run, summary: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, parents=[options], help=summary, description=summary)
        made.set_defaults(verb=run)
        return made

    for module in (stack, operate, load, drill, runs):
        module.add(verb)
    return parser


if __name__ == "__main__":
    sys.exit(main())
