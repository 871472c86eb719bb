"""The `bulkhead` command: a table of verbs. Only here errors are printed and exit codes set."""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from bulkhead import __version__
from bulkhead.control import interrupts
from bulkhead.errors import BulkheadError, UsageError
from bulkhead.render.paths import Home
from bulkhead.topology.load import home_of, load
from bulkhead.topology.model import Topology

DEGRADED = 1  # exit code of `status` when something that should serve does not
SYSTEM = 71  # the system refused: disk full, no permission (sysexits.h: EX_OSERR)
DEFECT = 70  # sysexits.h: EX_SOFTWARE
FAILED = 1  # exit code of `load` when requests failed

EPILOG = """\
examples:
  bulkhead up                                      start the stack described by stack.toml
  bulkhead up --set services.api.instances=8       the same, with eight Tornado instances
  bulkhead status --json                           for programs
  bulkhead load --time 60 --users 100              a longer, heavier load
  bulkhead logs api-1 --follow                     what one instance prints

exit codes:
  0 done    1 degraded, or requests failed    2 wrong command line    3 wrong topology
  4 a program is missing    5 the stack is not in the needed state    6 not ready in time
  7 the evidence does not add up    70 a defect of bulkhead    71 the system refused
  130 interrupted (128 + the signal's number)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    arguments = _parser().parse_args(argv)
    os.umask(0o077)  # what a stack writes belongs to the user who runs it
    interrupts.install()
    try:
        return int(arguments.run(arguments))
    except BulkheadError as error:
        for line in error.lines:
            print(f"bulkhead: {line}" if not line.startswith(" ") else line, file=sys.stderr)
        return error.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except interrupts.Interrupted as interrupted:
        print(f"bulkhead: ended by {interrupted}", file=sys.stderr)
        return 128 + interrupted.number
    except OSError as error:
        print(f"bulkhead: {error}", file=sys.stderr)
        return SYSTEM
    except Exception:
        traceback.print_exc()
        print("bulkhead: this is a defect of bulkhead itself", file=sys.stderr)
        return DEFECT


def _up(arguments: argparse.Namespace) -> int:
    from bulkhead.control import stack

    if not stack.up(_topology(arguments), _say):
        print("the stack is up already, and all of it answers")
    print()
    return _status(arguments)


def _down(arguments: argparse.Namespace) -> int:
    from bulkhead.control import stack

    stopped = stack.down(_home(arguments), _say)
    print("the stack is down" if stopped else "the stack was not up")
    return 0


def _restart(arguments: argparse.Namespace) -> int:
    from bulkhead.control import stack

    stack.restart(_topology(arguments), _say)
    print()
    return _status(arguments)


def _reload(arguments: argparse.Namespace) -> int:
    from bulkhead.control import stack

    stack.reload(_topology(arguments))
    print("nginx has read its configuration again, and only new workers take connections")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from bulkhead.control import record
    from bulkhead.control.status import status
    from bulkhead.report.status import as_dict, as_text

    running = record.require(_home(arguments))
    found = status(running.resolved(), running)
    if getattr(arguments, "json", False):
        print(json.dumps(as_dict(found), indent=2))
    else:
        print(as_text(found, _colour()))
    return 0 if found.ready else DEGRADED


def _check(arguments: argparse.Namespace) -> int:
    topology = _topology(arguments)
    print(f"{topology.source} is right: {len(topology.instances())} instances at {topology.url}")
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    logs = _home(arguments).log
    known = sorted(path for path in logs.glob("*.log") if path.is_file())
    if not known:
        raise UsageError(f"there are no logs in {logs}: the stack has not been up yet")
    names = [path.stem for path in known]
    if wrong := [name for name in arguments.name if name not in names]:
        raise UsageError(f"logs {' '.join(wrong)}: no such log; there are {', '.join(names)}")
    wanted = [path for path in known if not arguments.name or path.stem in arguments.name]
    follow = ["-F"] if arguments.follow else []
    sys.stdout.flush()
    os.execvp("tail", ["tail", "-n", str(arguments.lines), *follow, *map(str, wanted)])


def _load(arguments: argparse.Namespace) -> int:
    from bulkhead.drill import load as load_
    from bulkhead.drill.locust import Load

    if arguments.users < 1 or arguments.time <= 0 or arguments.pace < 0:
        raise UsageError(
            f"load: --users {arguments.users} --time {arguments.time:g} --pace {arguments.pace:g}: "
            "users and time must be above 0, pace must not be below"
        )
    wanted = Load(
        arguments.users,
        arguments.time,
        arguments.shape,
        arguments.pace,
        arguments.ui_port if arguments.ui else None,
    )
    say = _say_aside if arguments.json else _say
    asked = bool(arguments.set or _from_environment())
    result = load_.run(_topology(arguments), asked, wanted, say, _colour())
    print(json.dumps(result.figures, indent=2) if arguments.json else "\n" + result.text)
    return FAILED if result.failed else 0


def _home(arguments: argparse.Namespace) -> Home:
    """For what must work whatever is wrong in the topology by now."""
    return Home(home_of(arguments.topology, [*_from_environment(), *arguments.set]))


def _topology(arguments: argparse.Namespace) -> Topology:
    return load(arguments.topology, [*_from_environment(), *arguments.set])


def _from_environment() -> list[str]:
    """Assignments from BULKHEAD_SET, one a line or separated by spaces."""
    return os.environ.get("BULKHEAD_SET", "").split()


def _colour() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _say_aside(line: str) -> None:
    """Where standard output is for a program."""
    print(line, file=sys.stderr, flush=True)


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
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
    parser = argparse.ArgumentParser(
        prog="bulkhead",
        description=sys.modules["bulkhead"].__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bulkhead {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB", title="verbs")

    def verb(
        name: str, run: Callable[[argparse.Namespace], int], summary: str
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, parents=[common], help=summary, description=summary)
        made.set_defaults(run=run)
        return made

    verb("up", _up, "start the stack and wait until every instance has answered through nginx")
    verb("down", _down, "stop everything; leave no process, socket or port")
    verb("restart", _restart, "down, then up: applies every change of the topology")
    verb(
        "reload",
        _reload,
        "nginx reads its configuration again; no request is cut short",
    )
    status = verb("status", _status, "every process: state, ready, restarts, memory, address")
    status.add_argument("--json", action="store_true", help="for programs")
    verb("check", _check, "read the topology, report every mistake in it, start nothing")
    logs = verb("logs", _logs, "the last lines that the processes printed")
    logs.add_argument("name", nargs="*", help="api-1, nginx, supervisord, ... (default: all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with new lines")
    logs.add_argument("-n", "--lines", type=int, default=10, help="lines of each log (default 10)")
    _add_load(verb("load", _load, "run Locust against the stack and say what came of it"))
    return parser


def _add_load(load_: argparse.ArgumentParser) -> None:
    load_.add_argument("--users", type=int, default=20, help="concurrent users (default 20)")
    load_.add_argument("--time", type=float, default=30, metavar="S", help="seconds (default 30)")
    load_.add_argument(
        "--shape", choices=("steady", "ramp", "spike"), default="steady", help="default: steady"
    )
    load_.add_argument(
        "--pace", type=float, default=1.0, help="multiplies every think time; 0 is no pause"
    )
    load_.add_argument("--ui", action="store_true", help="open Locust's own web UI instead")
    load_.add_argument("--ui-port", type=int, default=8089, help="where (default 8089)")
    load_.add_argument("--json", action="store_true", help="print the summary for programs")


if __name__ == "__main__":
    sys.exit(main())
