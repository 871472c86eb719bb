"""roll, scale, reload, upgrade, reopen: a running stack changes, and nobody's request fails."""

import argparse
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bulkhead.clock import now
from bulkhead.errors import ConfigError, UsageError
from bulkhead.verbs import common

if TYPE_CHECKING:
    from bulkhead.operate.plan import Plan
    from bulkhead.supervise.home import Say

# The result of an operation: for programs, and in a line for a person, with hints after that.
Done = tuple[dict[str, object], list[str]]

# Not more: an instance that is drained must be back soon, also on a busy machine.
NICER = 5

ROLL = """\
Replace every instance of a service by a fresh process, one after the other: drain it, end it,
start it, wait until it says that it is ready, and give it requests again. Fresh code is read from
disk; the configuration stays as it is (to change it use `reload`).

  bulkhead roll api              all instances of api
  bulkhead roll api-2 web-1      just these two

When a new process does not become ready the roll stops there: that instance stays drained, the
others are untouched and serve. Mend it and roll again: those that do not serve come first.
Ctrl-C ends a roll after the instance under way.
"""
SCALE = """\
Change the number of instances of the running stack, and nothing else.

  bulkhead scale api=8           four more; each gets requests once it says that it is ready
  bulkhead scale api=4 web=3     api-8 to api-5 are drained and end; web-3 is added

The topology file keeps its number: the next `reload`, `restart` or `up` returns to it.
"""
RELOAD = """\
Let the running stack become what the topology says now. Only what differs is touched: new
instances are started first, changed ones are replaced one by one, nginx gets new workers, and
instances that are gone from the topology are drained and end.

  bulkhead reload --dry-run                             what would be done
  bulkhead reload                                       after a change of stack.toml
  bulkhead reload --set services.api.app=my.new.api     deploy another version of a service

Every check that can fail comes before anything changes. When something new does not become ready,
all that had changed goes back to what it was, one by one, and the exit code is 6.
"""
UPGRADE = """\
Let the nginx that is installed now take over from the one that runs, without a refused connection.
The old master is killed, its workers serve on, the new master takes the listening sockets from
them, and the watchdog lets the old workers announce their end and finish. Needs stack.watch.

  bulkhead upgrade nginx         after the package manager has put another nginx in place

To run nginx from another path set proxy.program and use `bulkhead reload`.
"""
REOPEN = """\
Rotate the files that grow: rows/*.jsonl and nginx's error log become .1, older ones .2, and every
process opens its files again. Nothing is lost; the command returns when no process writes to a
renamed file any more. supervisord rotates what the programs print by itself. A drill or a load that
runs meanwhile reads the renamed files too, unless --keep drops them.

  bulkhead reopen --keep 7       for cron, once a day
"""


def add(verb: common.Add) -> None:
    """Add these verbs to the command."""
    roll = verb("roll", _run, "replace the processes of a service one by one; no request fails")
    roll.add_argument("name", nargs="+", metavar="SERVICE", help="or an instance, such as api-2")
    scale = verb("scale", _run, "change the number of instances of the running stack")
    scale.add_argument("number", nargs="+", metavar="SERVICE=N", help="such as api=8")
    reload = verb("reload", _run, "apply what has changed in the topology; no request fails")
    for each in (scale, reload):
        each.add_argument("--dry-run", action="store_true", help="say what would be done")
    upgrade = verb("upgrade", _run, "let another nginx binary take over from the running one")
    upgrade.add_argument("what", choices=["nginx"], help="only nginx has a binary of its own")
    reopen = verb("reopen", _run, "rotate rows and nginx's error log; nothing is lost")
    reopen.add_argument("--keep", type=_keep, help="old files of each (default: stack.rows_keep)")
    for each, operation, text in (
        (roll, _roll, ROLL), (scale, _scale, SCALE), (reload, _reload, RELOAD),
        (upgrade, _upgrade, UPGRADE), (reopen, _reopen, REOPEN),
    ):  # fmt: skip
        each.set_defaults(operation=operation)
        each.description = text
        each.formatter_class = argparse.RawDescriptionHelpFormatter
        each.add_argument("--json", action="store_true", help="for programs; progress on stderr")


def _run(arguments: argparse.Namespace) -> int:
    """Let the instances that serve have the processors before this command, and print what it did.

    Linux shares processors out to sessions first, and only within one by niceness (sched(7), "The
    autogroup feature"). A terminal's session is not ours to slow down.
    """
    os.nice(NICER)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # a kernel without autogroups
            Path("/proc/self/autogroup").write_text(str(NICER))
    say = common.say_aside if arguments.json else common.say
    result, (line, *hints) = arguments.operation(arguments, say)
    print(json.dumps(result, indent=2) if arguments.json else line)
    for hint in hints:
        say(hint)
    return 0


def _roll(arguments: argparse.Namespace, say: "Say") -> Done:
    from bulkhead.operate.roll import roll

    start = now()
    done = roll(common.home(arguments), arguments.name, say)
    took = now() - start
    line = f"{_count(len(done), 'instance')} replaced in {took:.1f} s"
    return {"took_s": took, "instances": list(map(asdict, done))}, [line]


def _scale(arguments: argparse.Namespace, say: "Say") -> Done:
    from bulkhead.operate.reload import scale

    numbers = dict(map(_number, arguments.number))
    start = now()
    plan = scale(common.home(arguments), numbers, say, arguments.dry_run)
    result, lines = _changed(arguments, plan, start)
    return result, lines + ([] if arguments.dry_run else _returning(arguments, numbers))


def _reload(arguments: argparse.Namespace, say: "Say") -> Done:
    from bulkhead.operate.reload import reload

    start = now()
    plan = reload(common.topology(arguments), say, arguments.dry_run)
    return _changed(arguments, plan, start)


def _changed(arguments: argparse.Namespace, plan: "Plan", start: float) -> Done:
    took = now() - start
    how = "nothing has been changed: a dry run" if arguments.dry_run else f"done in {took:.1f} s"
    return {"took_s": took, "dry_run": arguments.dry_run} | asdict(plan), [how]


def _upgrade(arguments: argparse.Namespace, say: "Say") -> Done:
    from bulkhead.supervise.nginx import upgrade

    done = upgrade(common.home(arguments), say)
    line = (
        f"nginx {done.new_version} (pid {done.new_pid}) has taken over from {done.old_version} "
        f"(pid {done.old_pid}); the last old worker ended after {done.took_s:.1f} s"
    )
    return asdict(done), [line]


def _reopen(arguments: argparse.Namespace, say: "Say") -> Done:
    from bulkhead.operate.reopen import reopen
    from bulkhead.supervise import record

    home = common.home(arguments)
    keep = arguments.keep or record.require(home).resolved().file.stack.rows_keep
    done = reopen(home, keep)
    for path in done.files:
        say(f"  {path.parent.name}/{path.stem} is now {path.name}")
    line = (
        f"{_count(len(done.files), 'file')} set aside ({done.bytes / 2**20:.1f} MB); "
        f"{_count(len(done.pids), 'process')} opened new ones within {done.took_s:.2f} s"
    )
    return asdict(done) | {"files": list(map(str, done.files))}, [line]


def _returning(arguments: argparse.Namespace, numbers: Mapping[str, int]) -> list[str]:
    """A line for each number to which the next command that reads the topology returns."""
    try:
        services = common.topology(arguments).services
    except ConfigError:
        return []  # a mistake in it by now is not this command's business
    return [
        f"{arguments.topology} says {name} = {services[name].instances}: the next reload or "
        "restart returns to that"
        for name, number in numbers.items()
        if name in services and services[name].instances != number
    ]


def _number(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not _is_count(number):
        raise UsageError(f"scale {text}: must be SERVICE=N, such as api=8")
    return name, int(number)


def _is_count(text: str) -> bool:
    """Whether it is a number of at most nine digits; Python itself reads no endless ones."""
    return text.isdecimal() and len(text) <= 9


def _keep(text: str) -> int:
    if not _is_count(text) or int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
