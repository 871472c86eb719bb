"""roll, scale, reload, upgrade, reopen: a running stack changes, and nobody's request fails."""

import argparse
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from bulkhead.clock import now
from bulkhead.errors import ConfigError, UsageError
from bulkhead.verbs import common

# Not more: an instance that is out of rotation is to be back soon, also where all is busy.
NICER = 5

ROLL = """\
Replace every instance of a service by a fresh process, one after the other: take it out of
rotation, let it answer what it has, end it, start it, wait until it says that it is ready, and put
it back. Fresh code is read from disk; the configuration stays as it is (that is `reload`).

  bulkhead roll api              all instances of api
  bulkhead roll api-2 web-1      just these two

When a new process does not become ready the roll stops there: that instance stays out of rotation,
the others are untouched and serve. Mend it and roll again: those that do not serve come first.
Ctrl-C ends a roll after the instance under way.
"""
SCALE = """\
Change the number of instances of the running stack, and nothing else.

  bulkhead scale api=8           four more; each gets requests once it says that it is ready
  bulkhead scale api=4 web=3     api-8 to api-5 leave the rotation, drain and end; web-3 is added

The topology file keeps its number: the next `reload`, `restart` or `up` returns to it.
"""
RELOAD = """\
Let the running stack become what the topology says now. Only what differs is touched: new
instances are started first, changed ones are replaced one by one, nginx gets new workers, and
instances that are gone from the topology drain and end.

  bulkhead reload --dry-run                             what would be done
  bulkhead reload                                       after a change of stack.toml
  bulkhead reload --set services.api.app=my.new.api     deploy another version of a service

What is wrong is refused before anything changes. When something new does not become ready, all
that had changed goes back to what it was, one by one, and the exit code is 6.
"""
UPGRADE = """\
Let the nginx that is installed now take over from the one that runs, without a refused connection.
The old master is killed, its workers serve on, the new master takes the listening sockets from
them, and the watchdog lets the old workers announce their end and finish. Needs stack.watch.

  bulkhead upgrade nginx         after the package manager has put another nginx in place

To run nginx from another path set proxy.program and use `bulkhead reload`.
"""
REOPEN = """\
Rotate what grows: rows/*.jsonl and nginx's error log become .1, older ones .2 and so on, and every
process opens its files again. Nothing is lost; the command returns when nobody writes to a renamed
file any more. supervisord rotates what the programs print by itself. A drill or a load that runs
meanwhile reads the renamed files too, unless --keep drops them.

  bulkhead reopen --keep 7       for cron, once a day
"""


def add(verb: common.Add) -> None:
    """Add these verbs to the command."""
    roll = verb("roll", _roll, "replace the processes of a service one by one; no request fails")
    roll.add_argument("name", nargs="+", metavar="SERVICE", help="or an instance, such as api-2")
    scale = verb("scale", _scale, "change the number of instances of the running stack")
    scale.add_argument("number", nargs="+", metavar="SERVICE=N", help="such as api=8")
    reload = verb("reload", _reload, "apply what has changed in the topology; no request fails")
    for one in (scale, reload):
        one.add_argument("--dry-run", action="store_true", help="say what would be done")
    upgrade = verb("upgrade", _upgrade, "let another nginx binary take over from the running one")
    upgrade.add_argument("what", choices=["nginx"], help="only nginx has a binary of its own")
    reopen = verb("reopen", _reopen, "rotate rows and nginx's error log; nothing is lost")
    reopen.add_argument("--keep", type=_keep, default=5, help="old files of each (default 5)")
    for one, text in (
        (roll, ROLL), (scale, SCALE), (reload, RELOAD), (upgrade, UPGRADE), (reopen, REOPEN),
    ):  # fmt: skip
        one.set_defaults(verb=_yielding(one.get_default("verb")))
        one.description = text
        one.formatter_class = argparse.RawDescriptionHelpFormatter
        one.add_argument("--json", action="store_true", help="for programs; progress on stderr")


def _yielding(run: common.Run) -> common.Run:
    """Where processors are short, these commands wait for what serves, not the other way round.

    Linux shares processors out to sessions first, and only within one by niceness (sched(7), "The
    autogroup feature"). A terminal's session is not ours to slow down.
    """

    def gently(arguments: argparse.Namespace) -> int:
        os.nice(NICER)
        if os.getsid(0) == os.getpid():
            with suppress(OSError):  # a kernel without autogroups
                Path("/proc/self/autogroup").write_text(str(NICER))
        return run(arguments)

    return gently


def _roll(arguments: argparse.Namespace) -> int:
    from bulkhead.control.roll import roll

    began = now()
    turns = roll(common.home(arguments), arguments.name, _say(arguments))
    took = now() - began
    _answer(
        arguments,
        {"took_s": took, "instances": [asdict(one) | {"took_s": one.took_s} for one in turns]},
        f"{_count(len(turns), 'instance')} replaced in {took:.1f} s",
    )
    return 0


def _scale(arguments: argparse.Namespace) -> int:
    from bulkhead.control.change import scale

    numbers = dict(map(_number, arguments.number))
    began = now()
    plan = scale(common.home(arguments), numbers, _say(arguments), arguments.dry_run)
    _changed(arguments, asdict(plan), now() - began)
    for line in [] if arguments.dry_run else _returning(arguments, numbers):
        _say(arguments)(line)
    return 0


def _reload(arguments: argparse.Namespace) -> int:
    from bulkhead.control.change import reload

    began = now()
    plan = reload(common.topology(arguments), _say(arguments), arguments.dry_run)
    _changed(arguments, asdict(plan), now() - began)
    return 0


def _upgrade(arguments: argparse.Namespace) -> int:
    from bulkhead.control.upgrade import upgrade

    done = upgrade(common.home(arguments), _say(arguments))
    _answer(
        arguments,
        asdict(done),
        f"nginx {done.new_version} (pid {done.new_pid}) has taken over from {done.old_version} "
        f"(pid {done.old_pid}); the last old worker ended after {done.took_s:.1f} s",
    )
    return 0


def _reopen(arguments: argparse.Namespace) -> int:
    from bulkhead.control.reopen import reopen

    done = reopen(common.home(arguments), arguments.keep)
    for path in done.files:
        _say(arguments)(f"  {path.parent.name}/{path.stem} is now {path.name}")
    _answer(
        arguments,
        asdict(done) | {"files": [str(path) for path in done.files]},
        f"{_count(len(done.files), 'file')} set aside ({done.bytes / 2**20:.1f} MB); "
        f"{_count(len(done.pids), 'process')} opened new ones within {done.took_s:.2f} s",
    )
    return 0


def _changed(arguments: argparse.Namespace, plan: dict[str, object], took: float) -> None:
    how = "nothing has been changed: a dry run" if arguments.dry_run else f"done in {took:.1f} s"
    _answer(arguments, {"took_s": took, "dry_run": arguments.dry_run} | plan, how)


def _returning(arguments: argparse.Namespace, numbers: Mapping[str, int]) -> list[str]:
    """What the next command that reads the topology makes of these numbers."""
    try:
        services = common.topology(arguments).services
    except ConfigError:
        return []  # whatever is wrong in it by now is not this command's business
    return [
        f"{arguments.topology} says {name} = {services[name].instances}: the next reload or "
        "restart returns to that"
        for name, number in numbers.items()
        if name in services and services[name].instances != number
    ]


def _answer(arguments: argparse.Namespace, found: dict[str, object], line: str) -> None:
    print(json.dumps(found, indent=2) if arguments.json else line)


def _say(arguments: argparse.Namespace) -> Callable[[str], None]:
    return common.say_aside if arguments.json else common.say


def _number(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdigit():
        raise UsageError(f"scale {text}: must be SERVICE=N, such as api=8")
    return name, int(number)


def _keep(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def _count(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"
