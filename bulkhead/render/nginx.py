"""Topology -> nginx.conf. It looks up and formats; every decision is in the topology."""

import hashlib
from pathlib import Path

from bulkhead.peer_table import Peer, table
from bulkhead.render.files import File, environment
from bulkhead.render.paths import Home
from bulkhead.topology.model import Topology

OTHER_FILES = 256  # of a worker: logs, sockets, static files

# Where Debian and Ubuntu put the modules of their nginx.
MODULES = Path("/usr/lib/nginx/modules")
# Modules of the watched balancer, in the order in which nginx must load them.
LUA_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
# The part of an answer that nginx keeps in memory (nginx/public.conf.j2, proxy_buffers).
BUFFERED_KB = 16 * 16


def render_nginx(
    topology: Topology, user: str | None, modules: Path | None = MODULES
) -> list[File]:
    """nginx.conf, and with the watched balancer the instances that it begins with.

    `user` is who the workers run as when nginx is started by root, else None. `modules` is the
    folder with nginx's Lua module, None when it is compiled in; only the watched balancer needs it.
    """
    home = Home(topology.home)
    watched = topology.proxy.balancer == "watched"
    template = environment(topology.root / "nginx").get_template("nginx.conf.j2")
    values = {
        "topology": topology,
        "home": home,
        "user": user,
        "nofile": descriptors(topology),
        "watched": watched,
        "modules": [modules / name for name in LUA_MODULES] if watched and modules else [],
        "stored": (BUFFERED_KB + topology.proxy.answer_file_kb) * 1024,
    }
    # The generation names what is in the file, so that a reload can be seen to be complete.
    draft = template.render(values, generation="")
    generation = hashlib.sha256(draft.encode()).hexdigest()[:16]
    conf = File(home.nginx_conf, template.render(values, generation=generation))
    if not watched:
        return [conf]
    # Every instance, called up: what nginx believes until the watchdog has told it more.
    known = [Peer(one.service, one.name, one.address, one.weight) for one in topology.instances()]
    return [conf, File(home.peers, table(known))]


def generation_of(text: str) -> str:
    """The generation that workers with this configuration report."""
    return text.partition("location = /generation")[2].split('"')[1]


def descriptors(topology: Topology) -> int:
    """Open files a worker may need: two a connection, and some for logs, sockets and files."""
    return 2 * topology.proxy.connections + OTHER_FILES


def most_connections(files: int) -> int:
    """The most connections for which so many open files are enough; it may be below 0."""
    return (files - OTHER_FILES) // 2
