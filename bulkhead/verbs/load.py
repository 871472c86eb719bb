"""load: Locust against the stack, closed-loop, as its users know it; merge: rows of its workers."""

import argparse
import json
from pathlib import Path

from bulkhead.errors import UsageError
from bulkhead.verbs import common

FAILED = 1  # exit code when requests failed
MOST_USERS = 100_000
MOST_S = 86_400
MOST_PACE = 1000  # loadtest/settings.py
MOST_MERGED = 1000  # loadtest/settings.py: as many workers can have a number


def add(verb: common.Add) -> None:
    """Add these verbs to the command."""
    load = verb("load", _load, "run Locust against the stack and say what came of it")
    load.add_argument("--users", type=int, default=20, help="concurrent users (default 20)")
    load.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that the users are spread over (default 1)",
    )
    load.add_argument("--time", type=int, default=30, metavar="S", help="seconds (default 30)")
    load.add_argument(
        "--shape", choices=("steady", "ramp", "spike"), default="steady", help="default: steady"
    )
    load.add_argument(
        "--pace", type=float, default=1.0, help="multiplies every think time; 0 is no pause"
    )
    load.add_argument("--ui", action="store_true", help="open Locust's own web UI instead")
    load.add_argument("--ui-port", type=int, default=8089, help="where (default 8089)")
    load.add_argument(
        "--hosts",
        metavar="KIND",
        help="containers: load the stack of `make compose-up`, with workers in containers",
    )
    load.add_argument("--json", action="store_true", help="print the summary for programs")
    merge = verb("merge", _merge, "put the rows of workers started by hand into one client.jsonl")
    merge.add_argument("folder", type=Path, help="where client-0.jsonl and its like are")
    merge.add_argument("--workers", type=int, required=True, help="how many there were")


def _load(arguments: argparse.Namespace) -> int:
    from bulkhead.drill import closed_load
    from bulkhead.drill.closed_load import Load
    from bulkhead.drill.spec import MOST_WORKERS

    common.require_range("load: --users", arguments.users, 1, MOST_USERS)
    common.require_range("load: --time", arguments.time, 1, MOST_S)
    common.require_range("load: --pace", arguments.pace, 0, MOST_PACE)
    common.require_range("load: --ui-port", arguments.ui_port, 1, 65_535)
    most = min(arguments.users, MOST_WORKERS)
    if not 1 <= arguments.workers <= most:
        raise UsageError(
            f"load: --workers {arguments.workers}: must be from 1 to {most}: at most "
            f"{MOST_WORKERS}, and at most one for each of {arguments.users} users"
        )
    if arguments.hosts not in (None, "containers"):
        raise UsageError(f"load: --hosts {arguments.hosts}: must be containers")
    if arguments.hosts and arguments.ui:
        raise UsageError("load: --ui: not with --hosts: the master there is in a container")
    wanted = Load(
        arguments.users,
        arguments.time,
        arguments.shape,
        arguments.pace,
        arguments.workers,
        arguments.ui_port if arguments.ui else None,
    )
    say = common.say_aside if arguments.json else common.say
    topology, colour = common.topology(arguments), common.colour()
    if arguments.hosts:
        result = closed_load.run_in_containers(topology, wanted, say, colour)
    else:
        asked = bool(common.assignments(arguments))
        result = closed_load.run(topology, asked, wanted, say, colour)
    print(json.dumps(result.figures, indent=2) if arguments.json else "\n" + result.text)
    return FAILED if result.failed else 0


def _merge(arguments: argparse.Namespace) -> int:
    from bulkhead.drill.client_rows import merge
    from bulkhead.rundir import RunDir

    if not 1 <= arguments.workers <= MOST_MERGED:
        raise UsageError(f"merge: --workers {arguments.workers}: must be from 1 to {MOST_MERGED}")
    run = RunDir(arguments.folder)
    rows = merge(run, arguments.workers)
    print(f"{rows} rows in {run.client_rows}")
    return 0
