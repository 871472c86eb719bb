"""What a new topology changes in a running stack: which programs, and whether nginx. Pure.

The rendered files are compared, not the settings: what gives the same file needs no restart.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bulkhead.render.paths import Home
from bulkhead.topology.model import Topology

Files = Mapping[Path, str]  # rendered files by their path
PROGRAM = "program:"
NGINX = "nginx"
WATCH = "watch"


@dataclass(frozen=True)
class Plan:
    """What is to be done, in this order. `added` to `removed` hold names of instances."""

    watch: bool = False  # the watchdog is replaced
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()  # replaced by another version of themselves
    nginx: bool = False  # nginx reads another configuration
    master: bool = False  # nginx itself is replaced: another program, or other times
    removed: tuple[str, ...] = ()
    written: tuple[str, ...] = ()  # other files, which the watchdog and nginx read by themselves

    @property
    def empty(self) -> bool:
        """Whether everything stays as it is."""
        return self == Plan()


def compare(home: Home, old: Files, new: Files) -> Plan:
    """What it takes to get from the files in force to these."""
    before = _programs(old.get(home.supervisord_conf, ""))
    after = _programs(new[home.supervisord_conf])
    differ = [name for name in after if name in before and before[name] != after[name]]
    own = (home.nginx_conf, home.supervisord_conf)
    return Plan(
        watch=WATCH in differ,
        added=tuple(name for name in after if name not in before),
        changed=tuple(name for name in differ if name not in (NGINX, WATCH)),
        nginx=old.get(home.nginx_conf) != new[home.nginx_conf],
        master=NGINX in differ,
        removed=tuple(name for name in before if name not in after),
        written=tuple(path.name for path in new if path not in own and old.get(path) != new[path]),
    )


def finishing(
    plan: Plan,
    names: Sequence[str],
    added: Sequence[str],
    changed: Sequence[str],
    removed: Sequence[str],
    out: Sequence[str],
) -> Plan:
    """A plan that also finishes what an earlier command, killed half-way, has left undone.

    `names` are the instances of the new topology. supervisord says which programs of its file it
    has yet to add, to change and to remove; `out` are the instances out of rotation.
    """
    lacking = [name for name in added if name in names and name not in plan.added]
    new = {*plan.added, *lacking}
    other = [name for name in (*changed, *out) if name in names and name not in new]
    surplus = [name for name in removed if name not in names and name not in plan.removed]
    return replace(
        plan,
        added=(*plan.added, *lacking),
        changed=tuple(dict.fromkeys((*plan.changed, *other))),
        removed=(*plan.removed, *surplus),
    )


def sections(text: str) -> dict[str, dict[str, str]]:
    """A file of supervisord's as `section -> key -> value`, in its order; comments do not count."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("["):
            found[line.strip("[]")] = {}
        elif line and not line.startswith((";", "#", " ")):
            key, _, value = line.partition("=")
            found[list(found)[-1]][key] = value
    return found


def reasons(home: Home, old: Files, new: Files, name: str) -> list[str]:
    """Which keys of a program differ: `environment`, `command`."""
    before = _programs(old.get(home.supervisord_conf, "")).get(name, {})
    after = _programs(new[home.supervisord_conf]).get(name, {})
    return [key for key in dict.fromkeys((*before, *after)) if before.get(key) != after.get(key)]


def obstacles(old: Topology, new: Topology, before: Files, after: Files) -> list[str]:
    """What cannot change while the stack runs, a line each."""
    found = [
        f"{key} cannot change from {was} to {wanted} in a running stack"
        for key, was, wanted in (
            ("stack.name", old.name, new.name),
            ("stack.watch", old.file.stack.watch, new.file.stack.watch),
            ("proxy.balancer", old.proxy.balancer, new.proxy.balancer),
            ("proxy.listen", old.proxy.listen, new.proxy.listen),
            ("proxy.connections", old.proxy.connections, new.proxy.connections),
        )
        if was != wanted
    ]
    addresses = {one.name: one.address for one in old.instances()}
    found += [
        f"services.{one.service}: {one.name} cannot move from {addresses[one.name]} to "
        f"{one.address} while it serves"
        for one in new.instances()
        if addresses.get(one.name, one.address) != one.address
    ]
    if not found and _around(old, before) != _around(new, after):
        found.append("supervisord's own part of its file differs (supervisor/ has changed)")
    return found


def lines(home: Home, old: Files, new: Files, plan: Plan) -> list[str]:
    """A plan for a person, in the order in which it is carried out."""
    found = []
    if plan.watch:
        found.append("replace the watchdog")
    if plan.added:
        found.append(f"add {', '.join(plan.added)}")
    why: dict[str, list[str]] = {}
    for name in plan.changed:
        keys = ", ".join(reasons(home, old, new, name))
        why.setdefault(f"{keys} differs" if keys else "left half-way", []).append(name)
    found += [f"roll {', '.join(names)}: {words}" for words, names in why.items()]
    if plan.master:
        found.append(f"replace nginx: {', '.join(reasons(home, old, new, NGINX))} differs")
    elif plan.nginx:
        found.append("let nginx read its configuration again")
    if plan.removed:
        found.append(f"remove {', '.join(plan.removed)}")
    if plan.written:
        found.append(f"write {', '.join(plan.written)}")
    return [f"{number}. {line}" for number, line in enumerate(found, 1)]


def blend(old: str, new: str, names: Sequence[str]) -> str:
    """A watch.json between two others: of the programs `names` it says what the new one says.

    The watchdog must know each program as it is at the moment. So what it is told of an instance
    changes when that instance does, and what is of no program at once.
    """
    if not old:
        return new
    before, after = json.loads(old), json.loads(new)
    was, wanted = ({one["name"]: one for one in each["programs"]} for each in (before, after))
    chosen = (
        (wanted if name in names else was).get(name) for name in dict.fromkeys((*was, *wanted))
    )
    return json.dumps(after | {"programs": [one for one in chosen if one]}, indent=1) + "\n"


def _programs(text: str) -> dict[str, dict[str, str]]:
    return {
        name.removeprefix(PROGRAM): one
        for name, one in sections(text).items()
        if name.startswith(PROGRAM)
    }


def _around(topology: Topology, files: Files) -> dict[str, dict[str, str]]:
    """Everything in supervisord's file that is no program."""
    text = files.get(Home(topology.home).supervisord_conf, "")
    return {name: one for name, one in sections(text).items() if not name.startswith(PROGRAM)}
