"""up, down, restart, status, check, logs: the life of a stack."""

import argparse
import json
import os
import sys

from bulkhead.errors import UsageError
from bulkhead.verbs import common

DEGRADED = 1  # exit code of `status` when something that should serve does not


def add(verb: common.Add) -> None:
    """Add these verbs to the command."""
    verb("up", _up, "start the stack and wait until every instance has answered through nginx")
    verb("serve", _serve, "start the stack in the foreground: for a container or an init system")
    verb("down", _down, "stop everything; leave no process, socket or port")
    verb("restart", _restart, "down, then up: applies every change of the topology")
    status = verb("status", _status, "every process: state, ready, restarts, memory, address")
    status.add_argument("--json", action="store_true", help="for programs")
    verb("check", _check, "read the topology, report every mistake in it, start nothing")
    logs = verb("logs", _logs, "the last lines that the processes printed")
    logs.add_argument("name", nargs="*", help="api-1, nginx, supervisord, ... (default: all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with new lines")
    logs.add_argument("-n", "--lines", type=int, default=10, help="lines of each log (default 10)")


def _up(arguments: argparse.Namespace) -> int:
    from bulkhead.control import stack

    if not stack.up(common.topology(arguments), common.say):
        print("the stack is up already, and all of it answers")
    print()
    return _status(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    from bulkhead.control import stack

    stack.serve(common.topology(arguments))


def _down(arguments: argparse.Namespace) -> int:
    from bulkhead.control import stack
    from bulkhead.drill import stage

    home = common.home(arguments)
    stopped = stack.down(home, common.say)
    stage.clear(home, common.say)
    print("the stack is down" if stopped else "the stack was not up")
    return 0


def _restart(arguments: argparse.Namespace) -> int:
    from bulkhead.control import stack

    stack.restart(common.topology(arguments), common.say)
    print()
    return _status(arguments)


def _status(arguments: argparse.Namespace) -> int:
    from bulkhead.control import record
    from bulkhead.control.status import status
    from bulkhead.report.status import as_dict, as_text

    running = record.require(common.home(arguments))
    found = status(running.resolved(), running)
    if getattr(arguments, "json", False):
        print(json.dumps(as_dict(found), indent=2))
    else:
        print(as_text(found, common.colour()))
    return 0 if found.ready else DEGRADED


def _check(arguments: argparse.Namespace) -> int:
    topology = common.topology(arguments)
    print(f"{topology.source} is right: {len(topology.instances())} instances at {topology.url}")
    return 0


def _logs(arguments: argparse.Namespace) -> int:
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
