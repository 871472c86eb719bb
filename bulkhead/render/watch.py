"""Topology -> etc/watch.json: what the watchdog watches, and what a launcher has to know.

The watchdog reads the file again whenever it changes. Times are seconds.
"""

import json
from pathlib import Path

from bulkhead.render.files import File
from bulkhead.render.paths import Home
from bulkhead.render.supervisor import NGINX, WATCH, WATCH_GRACE_S
from bulkhead.topology.model import Instance, Topology


def supervisord_command(home: Home, interpreter: Path) -> list[str]:
    """What starts a supervisord for a home; -s: it prints nothing that is not in its log too."""
    return [
        *(str(interpreter), "-m", "supervisor.supervisord"),
        *("-s", "-c", str(home.supervisord_conf)),
    ]


def render_watch(topology: Topology, interpreter: Path) -> File:
    """watch.json. `interpreter` is the Python that the stack runs."""
    home, proxy = Home(topology.home), topology.proxy
    programs = [_program(NGINX, NGINX, proxy.grace_s)] if topology.has_proxy else []
    programs += [_instance(topology, one) for one in topology.instances()]
    if topology.file.stack.watch:
        programs.insert(0, _program(WATCH, WATCH, WATCH_GRACE_S))
    value = {
        "root": str(topology.root),
        "python": str(interpreter),
        "supervisord": supervisord_command(home, interpreter),
        "peers": topology.has_proxy and proxy.balancer == "watched",
        "host": topology.hosts.name,
        "hear": topology.hosts.hear,
        "tell": topology.hosts.tell,
        "key_file": str(topology.root / topology.hosts.key_file) if topology.hosts.key_file else "",
        "closing_s": proxy.closing_s if proxy.balancer == "watched" else 0,
        "proxy_grace_s": proxy.grace_s,
        "programs": programs,
    }
    return File(home.watch_conf, json.dumps(value, indent=1) + "\n")


def _instance(topology: Topology, one: Instance) -> dict[str, object]:
    service = topology.services[one.service]
    return _program(one.name, service.kind, service.grace_s) | {
        "service": one.service,
        "address": one.address,
        "weight": one.weight,
        "hang_s": service.hang_s,
    }


def _program(name: str, kind: str, grace_s: float) -> dict[str, object]:
    return {
        "name": name,
        "kind": kind,
        "service": "",
        "address": "",
        "weight": 1,
        "hang_s": 0,
        "grace_s": grace_s,
    }
