"""drill, drills: load and faults against a real stack, ending in a verdict."""

import argparse
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.errors import UsageError
from bulkhead.verbs import common
from bulkhead.verbs.runs import show

if TYPE_CHECKING:
    from bulkhead.drill.run import Run, Stage
    from bulkhead.drill.spec import Drill
    from bulkhead.supervise.home import Say

FOLDER = Path("drills")
MOST_RUNS = 100
MOST_SEED = 2**32


def add(verb: common.Add) -> None:
    """Add these verbs to the command."""
    drill = verb("drill", _drill, "load the stack, break it, and judge what became of each request")
    drill.add_argument("name", nargs="?", type=Path, default=Path("kill-storm"), metavar="DRILL")
    drill.add_argument("--seed", type=int, default=1, help="of arrivals and targets (default 1)")
    drill.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="run it N times, each with the next seed"
    )
    drill.add_argument(
        "--here", action="store_true", help="on the stack that is up, not on one of its own"
    )
    drill.add_argument(
        "--hosts",
        metavar="KIND",
        help="what the hosts of a drill with several are: namespaces (default) or containers",
    )
    drill.add_argument(
        "--clean",
        action="store_true",
        help="run none: end and remove what a drill that was killed has left",
    )
    drill.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML, for a CI")
    drill.add_argument("--json", action="store_true", help="print the verdicts for programs")
    drills = verb("drills", _drills, "every drill with a line about it")
    drills.add_argument("--json", action="store_true", help="for programs")


def _drill(arguments: argparse.Namespace) -> int:
    from bulkhead.drill import run, spec
    from bulkhead.judge.verdict import worst
    from bulkhead.report.junit import junit

    if arguments.clean:
        return _clean(arguments)
    common.require_range("drill: --seed", arguments.seed, 0, MOST_SEED)
    if not 1 <= arguments.repeat <= MOST_RUNS:
        raise UsageError(f"drill: --repeat {arguments.repeat}: must be 1 to {MOST_RUNS}")
    common.require_writable(arguments.junit)
    path = spec.find(arguments.name, arguments.topology.parent / FOLDER)
    drill = spec.load(path, common.assignments(arguments, of_drill=True))
    say = common.say_aside if arguments.json else common.say
    stage = _stage(arguments, drill, say)
    runs = common.home(arguments).runs
    done: list[Run] = []
    try:
        for seed in range(arguments.seed, arguments.seed + arguments.repeat):
            one = run.run(stage, drill, seed, runs, say)
            done.append(one)
            if arguments.json:
                continue
            print()
            show(one.folder, one.verdict)
            predicted = drill.file.predicts
            word = "as" if predicted == one.verdict.verdict else "not as"
            print(f"\n{word} predicted ({predicted})")
    finally:  # also when a later run broke: what has been found out stays found out
        if arguments.junit:
            suites = [(one.folder.path.name, one.verdict, one.seconds) for one in done]
            arguments.junit.write_text(junit(suites))
        if arguments.json:
            print(json.dumps([one.as_dict() for one in done], indent=2))
    return worst(one.verdict for one in done)


def _clean(arguments: argparse.Namespace) -> int:
    from bulkhead.drill import leftovers
    from bulkhead.supervise.home import refuse_strangers_home

    home = common.home(arguments)
    refuse_strangers_home(home)
    if not leftovers.clear(home, common.say):
        print("no drill has left anything")
    return 0


def _stage(arguments: argparse.Namespace, drill: "Drill", say: "Say") -> "Stage":
    from bulkhead.drill import stage
    from bulkhead.hosts import KINDS
    from bulkhead.hosts.namespaces import Namespaces

    about_stack = common.assignments(arguments)
    if arguments.hosts is not None and not drill.file.hosts:
        raise UsageError(
            f"drill: --hosts {arguments.hosts}: {drill.name} is about one host; leave it out, or "
            "choose a drill with [hosts] (bulkhead drills)"
        )
    kind = Namespaces.kind if arguments.hosts is None else arguments.hosts
    if kind not in KINDS:
        raise UsageError(f"drill: --hosts {arguments.hosts}: must be {' or '.join(KINDS)}")
    if not arguments.here:
        return functools.partial(stage.own, arguments.topology, drill, about_stack, kind, say)
    if drill.file.hosts:
        raise UsageError(f"drill: --here: {drill.name} is about several hosts of its own")
    return functools.partial(stage.here, common.home(arguments), drill, about_stack)


def _drills(arguments: argparse.Namespace) -> int:
    from bulkhead.drill import spec

    folder = arguments.topology.parent / FOLDER
    found = [spec.load(path) for path in sorted(folder.glob("*.toml"))]
    if not found:
        raise UsageError(f"drills: there are none in {folder}/ (it is beside the topology)")
    if arguments.json:
        print(json.dumps([one.as_dict(seed=1) for one in found], indent=2))
        return 0
    width = max(len(one.name) for one in found)
    for one in found:
        print(f"{one.name:{width}}  {one.file.predicts:7}  {one.file.title}")
    return 0
