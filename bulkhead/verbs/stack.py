"""up, down, restart, status, check, logs: the life of a stack."""

import argparse
import json
import os
import sys
from dataclasses import asdict

from bulkhead.errors import UsageError
from bulkhead.verbs import common

MOST_LINES = 1_000_000
DEGRADED = 1  # exit code of `status` when something that should serve does not


def add(verb: common.Add) -> None:
    """Add these verbs to the command."""
    verb("up", _up, "start the stack and wait until every instance has answered through nginx")
    verb("serve", _serve, "start the stack in the foreground: for a container or an init system")
    verb("down", _down, "stop everything; leave no process, socket or port")
    verb("restart", _restart, "down, then up: applies every change of the topology")
    status = verb("status", _status, "every process: state, ready, restarts, memory, address")
    status.add_argument("--json", action="store_true", help="for programs")
    only = status.add_mutually_exclusive_group()
    only.add_argument(
        "--serving",
        action="store_true",
        help="0 also when instances keep crashing, as long as each service has one that is ready",
    )
    only.add_argument(
        "--live",
        action="store_true",
        help="only whether supervisord and the watchdog work, whatever the instances do: for a "
        "check that replaces a whole host",
    )
    verb("check", _check, "read the topology, report every mistake in it, start nothing")
    logs = verb("logs", _logs, "the last lines that the processes printed")
    logs.add_argument("name", nargs="*", help="api-1, nginx, supervisord, ... (default: all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with new lines")
    logs.add_argument("-n", "--lines", type=int, default=10, help="lines of each log (default 10)")


def _up(arguments: argparse.Namespace) -> int:
    from bulkhead.supervise import start

    if not start.up(common.topology(arguments), common.say):
        print("the stack is up already, and all of it answers")
    print()
    return _status(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    from bulkhead.supervise import start

    start.serve(common.topology(arguments), common.say_aside)


def _down(arguments: argparse.Namespace) -> int:
    from bulkhead.drill import leftovers
    from bulkhead.supervise import stop

    home = common.home(arguments)
    stopped = stop.down(home, common.say)
    leftovers.clear(home, common.say)
    print("the stack is down" if stopped else "the stack was not up")
    return 0


def _restart(arguments: argparse.Namespace) -> int:
    from bulkhead.supervise import start

    start.restart(common.topology(arguments), common.say)
    print()
    return _status(arguments)


def _status(arguments: argparse.Namespace) -> int:
    from bulkhead.drill import leftovers
    from bulkhead.report.status import text
    from bulkhead.supervise import record
    from bulkhead.supervise.status import status

    if getattr(arguments, "live", False):
        return _live(arguments)
    home = common.home(arguments)
    if left := leftovers.left(home):
        common.say_aside(f"an interrupted drill has left {left}: `bulkhead drill --clean` ends it")
    current = status(record.require(home))
    if getattr(arguments, "json", False):
        print(json.dumps(asdict(current), indent=2))
    else:
        print(text(current, common.colour()))
    well = current.serves if getattr(arguments, "serving", False) else current.ready
    return 0 if well else DEGRADED


def _live(arguments: argparse.Namespace) -> int:
    from bulkhead.supervise.status import liveness

    answers = liveness(common.home(arguments))
    live = all(answers.values())
    if arguments.json:
        print(json.dumps(answers | {"live": live}, indent=2))
    elif live:
        print("supervisord and the watchdog work")
    for name in (name for name, answered in answers.items() if not answered):
        print(
            f"bulkhead: {'the watchdog' if name == 'watch' else name} does not answer; see "
            "`make logs`, and `make restart` starts everything anew",
            file=sys.stderr,
        )
    return 0 if live else DEGRADED


def _check(arguments: argparse.Namespace) -> int:
    from bulkhead.supervise import preflight

    topology = common.topology(arguments)
    for line in preflight.warnings(topology):
        print(line)
    print(f"{topology.source} is right: {len(topology.instances())} instances at {topology.url}")
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    common.require_range("logs: --lines", arguments.lines, 0, MOST_LINES)
    logs = common.home(arguments).log
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
