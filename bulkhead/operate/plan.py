"""The changes of a new topology in a running stack: which programs, and whether nginx. Pure.

Programs are compared by supervisor's own reader: comments and spelling make no difference.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

from supervisor.options import ServerOptions

from bulkhead.atomic import BROKEN
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import NGINX, WATCH
from bulkhead.topology.model import Topology

# The programs of its file that supervisord has yet to add, to change and to remove.
Left = tuple[Sequence[str], Sequence[str], Sequence[str]]


@dataclass(frozen=True)
class Plan:
    """The steps, in this order. `added` to `removed` hold names of instances."""

    watch: bool = False  # the watchdog is replaced
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()  # replaced by another version of themselves
    nginx: bool = False  # nginx reads another configuration
    master: bool = False  # nginx itself is replaced: another program, or other times
    removed: tuple[str, ...] = ()
    written: tuple[str, ...] = ()  # other files, which the watchdog and nginx read by themselves


@dataclass(frozen=True)
class SupervisorFile:
    """A file of supervisord's, read: every program, and supervisord's own settings."""

    programs: Mapping[str, Any]  # supervisor's ProcessConfig: equal if supervisord takes it so
    own: Mapping[str, object]

    def reasons(self, new: "SupervisorFile", name: str) -> list[str]:
        """Which settings of a program differ: `command`, `environment`."""
        before, after = self.programs[name], new.programs[name]
        keys = (*before.req_param_names, *before.optional_param_names)
        return sorted(key for key in keys if getattr(before, key) != getattr(after, key))


class _Options(ServerOptions):  # type: ignore[misc]  # supervisor ships no types
    """supervisor's reader of its file, which imports no plug-in that the file names."""

    def import_spec(self, spec: str) -> str:
        """The name itself; it is only compared."""
        return spec


@dataclass(frozen=True)
class Version:
    """A topology, the nginx that it runs, and its files: as rendered, or as they are on disk."""

    topology: Topology
    program: Path
    files: Mapping[Path, str]

    @property
    def home(self) -> Home:
        """The home of the stack."""
        return Home(self.topology.home)

    @cached_property
    def supervisor(self) -> SupervisorFile:
        """supervisord's file, read: with many instances that takes its time."""
        return read_supervisor(self.files.get(self.home.supervisord_conf, ""))


def read_supervisor(text: str) -> SupervisorFile:
    """Read a file of supervisord's; one that is missing or cannot be read has no programs."""
    try:
        settings = dict(vars(_Options().read_config(StringIO(text))))
    except ValueError:
        return SupervisorFile({}, {})
    groups = settings.pop("process_group_configs")
    servers = settings.pop("server_configs")
    unix = [{key: server.get(key) for key in ("file", "chmod", "chown")} for server in servers]
    programs = {program.name: program for group in groups for program in group.process_configs}
    return SupervisorFile(programs, settings | {"servers": unix})


def compare(old: Version, new: Version) -> Plan:
    """The way from the files in force to new ones."""
    before, after = old.supervisor.programs, new.supervisor.programs
    differ = [name for name in after if name in before and before[name] != after[name]]
    changed = [path for path in new.files if old.files.get(path) != new.files[path]]
    own = (new.home.nginx_conf, new.home.supervisord_conf)
    return Plan(
        watch=WATCH in differ,
        added=tuple(name for name in after if name not in before),
        changed=tuple(name for name in differ if name not in (NGINX, WATCH)),
        nginx=new.home.nginx_conf in changed,
        master=NGINX in differ,
        removed=tuple(name for name in before if name not in after),
        written=tuple(path.name for path in changed if path not in own),
    )


def finishing(plan: Plan, names: Sequence[str], left: Left, drained: Sequence[str]) -> Plan:
    """A plan that also finishes what an earlier command, killed half-way, has left undone.

    `names` are the instances of the new topology, `drained` those that get no requests.
    """
    added, changed, removed = left
    new = dict.fromkeys(name for name in (*plan.added, *added) if name in names)
    kept = [name for name in names if name not in new]
    other = dict.fromkeys(name for name in (*plan.changed, *changed, *drained) if name in kept)
    gone = dict.fromkeys(name for name in (*plan.removed, *removed) if name not in names)
    return replace(plan, added=tuple(new), changed=tuple(other), removed=tuple(gone))


def obstacles(before: Version, after: Version) -> list[str]:
    """A line for each change that a running stack cannot take up."""
    old, new = before.topology, after.topology
    lines = [
        f"{key} cannot change from {was} to {wanted} in a running stack"
        for key, was, wanted in (
            ("stack.name", old.file.stack.name, new.file.stack.name),
            ("stack.watch", old.file.stack.watch, new.file.stack.watch),
            ("proxy.balancer", old.proxy.balancer, new.proxy.balancer),
            ("proxy.listen", old.proxy.listen, new.proxy.listen),
            ("proxy.connections", old.proxy.connections, new.proxy.connections),
        )
        if was != wanted
    ]
    addresses = {instance.name: instance.address for instance in old.instances()}
    lines += [
        f"services.{instance.service}: {instance.name} cannot move from "
        f"{addresses[instance.name]} to {instance.address} while it serves"
        for instance in new.instances()
        if addresses.get(instance.name, instance.address) != instance.address
    ]
    if not lines and before.supervisor.own != after.supervisor.own:
        lines.append("supervisord's own part of its file differs (supervisor/ has changed)")
    return lines


def describe(old: Version, new: Version, plan: Plan) -> list[str]:
    """A plan for a person, in the order in which it is carried out."""
    before, after = old.supervisor, new.supervisor
    lines = []
    if plan.watch:
        lines.append("replace the watchdog")
    if plan.added:
        lines.append(f"add {', '.join(plan.added)}")
    why: dict[str, list[str]] = {}
    for name in plan.changed:
        keys = ", ".join(before.reasons(after, name))
        why.setdefault(f"{keys} differs" if keys else "left half-way", []).append(name)
    lines += [f"roll {', '.join(names)}: {reason}" for reason, names in why.items()]
    if plan.master:
        lines.append(f"replace nginx: {', '.join(before.reasons(after, NGINX))} differs")
    elif plan.nginx:
        lines.append("let nginx read its configuration again")
    if plan.removed:
        lines.append(f"remove {', '.join(plan.removed)}")
    if plan.written:
        lines.append(f"write {', '.join(plan.written)}")
    return [f"{number}. {line}" for number, line in enumerate(lines, 1)]


def blend(old: str, new: str, names: Sequence[str]) -> str:
    """A watch.json between two others: of the programs `names` it says what the new one says.

    The watchdog must know each program as it is now; what is of no program changes at once.
    """
    after = json.loads(new)
    wanted = {program["name"]: program for program in after["programs"]}
    try:
        was = {program["name"]: program for program in json.loads(old)["programs"]}
    except BROKEN:  # there is none, or it cannot be read: the watchdog keeps to what it had read
        return new
    chosen = (
        (wanted if name in names else was).get(name) for name in dict.fromkeys((*was, *wanted))
    )
    return json.dumps(after | {"programs": list(filter(None, chosen))}, indent=1) + "\n"
