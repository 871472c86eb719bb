"""A running stack takes up another topology: only what differs is replaced, one by one.

What can be refused is refused before anything changes; what fails after that is taken back.
"""

import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from bulkhead.control import handover, nginx, preflight, record, stack
from bulkhead.control.interrupts import held
from bulkhead.control.lock import lock
from bulkhead.control.plan import Plan, compare, finishing, lines, obstacles
from bulkhead.control.ports import blocking, listeners
from bulkhead.control.programs import Programs
from bulkhead.control.record import Record
from bulkhead.control.start import Say
from bulkhead.control.steps import Steps, Version
from bulkhead.errors import BulkheadError, StartError, StateError, UsageError
from bulkhead.render.paths import Home
from bulkhead.topology.load import assign, parse
from bulkhead.topology.model import Topology


def reload(topology: Topology, say: Say, dry_run: bool = False) -> Plan:
    """Let the running stack become what `topology` says; with `dry_run` only say how.

    Raises:
        StateError: the stack is not up, a port is taken, or a change needs a restart.
        ConfigError: nginx refuses the new configuration.
        StartError: something new did not become ready; all is back as it was.
    """
    home = Home(topology.home)
    with lock(home):
        return _become(home, record.require_whole(home), topology, say, dry_run)


def scale(home: Home, numbers: Mapping[str, int], say: Say, dry_run: bool = False) -> Plan:
    """Give services of the running stack another number of instances, and change nothing else.

    Raises:
        UsageError: there is no such service.
        ConfigError: a number that the topology does not allow.
        StateError, StartError: as `reload`.
    """
    with lock(home):
        running = record.require_whole(home)
        return _become(home, running, scaled(running, numbers), say, dry_run)


def scaled(running: Record, numbers: Mapping[str, int]) -> Topology:
    """The topology in force with other numbers of instances.

    Raises:
        UsageError: there is no such service.
        ConfigError: the topology does not allow it.
    """
    services = running.resolved().services
    if wrong := [name for name in numbers if name not in services]:
        raise UsageError(
            f"scale {' '.join(wrong)}: no such service; there are {', '.join(services)}"
        )
    tree = deepcopy(running.topology)
    for name, number in numbers.items():
        assign(tree, f"services.{name}.instances={number}")
    return parse(tree, Path(running.source))


def _become(home: Home, running: Record, topology: Topology, say: Say, dry_run: bool) -> Plan:
    old, new = _versions(running, topology)
    handover.master(home)  # without nginx there is nothing to apply a change to
    _refuse(home, running, old, new)
    plan = finishing(
        compare(home, old.files, new.files),
        [one.name for one in topology.instances()],
        *Programs(home.supervisor_socket).reread(),
        out=sorted(path.name for path in home.out.glob("*")),
    )
    if plan.empty:
        say("nothing differs; nginx reads its configuration again all the same")
        plan = Plan(nginx=True)
    for line in lines(home, old.files, new.files, plan):
        say(line)
    if not dry_run:
        _carry_out(Steps(running, old, new, say), plan)
        after = topology.file.model_dump(mode="json", exclude_unset=True)
        found = record.require(home)  # read again: supervisord may have been replaced meanwhile
        record.write(home, replace(found, topology=after, nginx=str(new.program)))
    return plan


def _versions(running: Record, topology: Topology) -> tuple[Version, Version]:
    """What is in force, as it is on disk, and what is wanted."""
    old = running.resolved()
    program = Path(running.nginx)
    wanted = program
    if topology.proxy.program != old.proxy.program:
        wanted = nginx.find_nginx(topology.proxy.program, os.environ.get("PATH", ""))
    files = {one.path: one.text for one in stack.render(topology, wanted)}
    found = {path: path.read_text() for path in files if path.exists()}
    return Version(old, program, found), Version(topology, wanted, files)


def _refuse(home: Home, running: Record, old: Version, new: Version) -> None:
    """Refuse what cannot go well, before anything changes.

    Raises:
        StateError: a port is taken, or the change needs a restart.
        ConfigError: nginx refuses its new configuration.
    """
    if found := obstacles(old.topology, new.topology, old.files, new.files):
        raise StateError(*found, "`make restart` applies it, with a gap")
    preflight.check(new.topology, [one.pid for one in running.members()])
    had = {one.name for one in old.topology.instances()}
    taken = listeners()
    clashes = [
        f"{one.name} would listen on {one.address}, which {owner.describe()} of this stack holds; "
        "`make restart` applies it, with a gap"
        for one in new.topology.instances()
        if one.name not in had and (owner := blocking(one.host, one.port, taken))
    ]
    if clashes:
        raise StateError(*clashes)
    nginx.test_draft(new.program, home, new.files[home.nginx_conf]).unlink()


def _carry_out(steps: Steps, plan: Plan) -> None:
    """Take all steps, or go back over those that were taken."""
    try:
        steps.take(plan)
    except BaseException as error:
        failed = error.lines if isinstance(error, BulkheadError) else (f"ended by {error}",)
        try:
            with held():
                steps.say("going back to what was before")
                steps.back().take(steps.undoing(plan))
        except BulkheadError as second:
            raise StartError(
                *failed,
                "and going back failed:",
                *second.lines,
                "see `make status`; `make restart` starts all of it again",
            ) from error
        if isinstance(error, BulkheadError):
            raise type(error)(*failed, "what had changed is back as it was, and serves") from error
        raise
