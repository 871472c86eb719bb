"""Topology -> nginx.conf. It looks up and formats; every decision is in the topology."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bulkhead.records import GaveUp
from bulkhead.render.files import File
from bulkhead.render.paths import Home
from bulkhead.render.peers import render_peers
from bulkhead.render.templates import environment
from bulkhead.topology.model import Instance, ServiceSection, Topology


@dataclass(frozen=True)
class ErrorText:
    """What nginx says when it answers with an error of its own.

    Of one status there may be several, each for a reason why the balancer gave the request up.
    """

    status: int
    code: str
    msg: str
    resolution: str
    gave_up: GaveUp = ""

    @property
    def key(self) -> str:
        """What nginx looks it up by."""
        return self.gave_up or str(self.status)


ERRORS = (
    ErrorText(400, "bad_request", "The request is not valid HTTP, or a header is too large.",
              "Check the request line and the size of the headers."),
    ErrorText(403, "forbidden", "This address is not for reading.", "Check the path."),
    ErrorText(404, "not_found", "There is nothing at this address.", "Check the path."),
    ErrorText(405, "method_not_allowed", "This address does not take this method.",
              "Use GET or HEAD for static files."),
    ErrorText(408, "request_timeout", "The request did not arrive in time.", "Send it again."),
    ErrorText(412, "precondition_failed", "A condition of the request does not hold.",
              "Ask again without the condition."),
    ErrorText(413, "body_too_large", "The request body is larger than the proxy accepts.",
              "Send a smaller body, or raise proxy.max_body_kb."),
    ErrorText(414, "uri_too_long", "The request line is longer than the proxy accepts.",
              "Shorten the address, or raise proxy.max_header_kb."),
    ErrorText(500, "proxy_error", "The proxy failed while it handled this request.",
              "Look for the request id in the proxy's error log."),
    ErrorText(501, "not_implemented", "The proxy does not know this transfer encoding.",
              "Send the body with Content-Length or chunked."),
    ErrorText(505, "http_version", "The proxy does not speak this version of HTTP.",
              "Use HTTP/1.1."),
    ErrorText(502, "no_live_instance", "No instance of this service could answer.",
              "Send the request again; a write is safe to repeat with the same Idempotency-Key."),
    ErrorText(503, "overloaded", "The service cannot take this request now.",
              "Send it again a little later."),
    ErrorText(504, "instance_timeout", "No instance of this service answered in time.",
              "Send the request again; a write is safe to repeat with the same Idempotency-Key."),
)  # fmt: skip

# Why the watched balancer answers 503 (docs/hold.md).
GIVEN_UP = (
    ErrorText(503, "no_live_instance", "No instance of this service is alive; many wait already.",
              "Send it again in a second. More may wait with proxy.hold_max.", "dead_full"),
    ErrorText(503, "no_live_instance", "No instance of this service came back while it waited.",
              "Send it again in a second. It may wait longer with proxy.hold_s.", "dead_late"),
    ErrorText(503, "overloaded", "Every instance of this service is busy; many wait already.",
              "Send it again in a second. More may wait with proxy.hold_max.", "busy_full"),
    ErrorText(503, "overloaded", "Every instance of this service was busy while it waited.",
              "Send it again in a second. More instances, or services.NAME.max_in_flight, help.",
              "busy_late"),
    ErrorText(503, "retry_budget", "Its instance failed, and too many retries are under way.",
              "Send it again in a second. More are allowed by proxy.retry_share and retry_burst.",
              "retry_budget"),
)  # fmt: skip

# Where Debian and Ubuntu put the modules of their nginx.
MODULES = Path("/usr/lib/nginx/modules")
# What the watched balancer needs, in the order in which nginx must load it.
LUA_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
# What it is told in milliseconds, nginx's own unit.
LUA_TIMES = ("tries_s", "hold_s", "queue_s")


@dataclass(frozen=True)
class Upstream:
    """One `upstream` block and its locations."""

    service: str
    choice: str  # the policy's name
    policy: str  # the directive that picks an instance; empty for nginx's own round robin
    hash: str  # for policy `hash`: "consistent" or "plain"
    hash_key: str
    max_in_flight: int
    instances: list[Instance]
    routes: list[str]
    max_fails: int
    fail_timeout_s: int
    timeout_s: float


def render_nginx(
    topology: Topology, user: str | None, modules: Path | None = MODULES
) -> list[File]:
    """nginx.conf, and with the watched balancer the instances that it begins with.

    `user` is who the workers run as when nginx is started by root, else None. `modules` is the
    folder with nginx's Lua module, None when it is compiled in; only the watched balancer needs it.
    """
    home = Home(topology.home)
    watched = topology.proxy.balancer == "watched"
    errors = ERRORS + GIVEN_UP if watched else ERRORS
    statuses = list(dict.fromkeys(error.status for error in errors))
    statics = [topology.root / one.static for one in topology.services.values() if one.static]
    template = environment(topology.root / "nginx").get_template("nginx.conf.j2")
    values = {
        "source": topology.source,
        "user": user,
        "proxy": topology.proxy,
        "nofile": descriptors(topology),
        "run": home.run,
        "log": home.log,
        "tmp": home.tmp,
        "rows": home.proxy_rows if topology.file.stack.rows else None,
        "errors": errors,
        "error_key": "$error_kind" if watched else "$status",
        "statuses": statuses,
        # Where a failed pass is repeated, these are not what becomes of it.
        "lasting": [status for status in statuses if status not in (502, 504)],
        "statics": statics,
        "upstreams": [_upstream(topology, name) for name in topology.services],
        "watched": watched,
        "modules": [modules / name for name in LUA_MODULES] if watched and modules else [],
        "lua": topology.root / "nginx" / "lua",
        "ms": {name: round(getattr(topology.proxy, name) * 1000) for name in LUA_TIMES},
        "peers": home.peers,
        "closing": home.closing,
        "instances": [] if watched else topology.instances(),
    }
    # The generation names what is in the file, so that a reload can be seen to be complete.
    draft = template.render(values, generation="")
    generation = hashlib.sha256(draft.encode()).hexdigest()[:16]
    conf = File(home.nginx_conf, template.render(values, generation=generation))
    return [conf, render_peers(topology)] if watched else [conf]


def generation_of(text: str) -> str:
    """The generation that workers with this configuration report."""
    return text.partition("location = /generation")[2].split('"')[1]


def descriptors(topology: Topology) -> int:
    """Open files a worker may need: two a connection, and some for logs, sockets and files."""
    return 2 * topology.proxy.connections + 256


def _upstream(topology: Topology, name: str) -> Upstream:
    service = topology.services[name]
    return Upstream(
        service=name,
        choice=service.policy,
        policy=_policy(service),
        hash=_hash(service),
        hash_key=service.hash_key or "",
        max_in_flight=service.max_in_flight,
        instances=topology.instances(name),
        routes=service.routes,
        max_fails=service.max_fails,
        fail_timeout_s=service.fail_timeout_s,
        timeout_s=service.timeout_s,
    )


def _policy(service: ServiceSection) -> str:
    """nginx's directive for a policy (ngx_http_upstream_module)."""
    consistent = " consistent" if service.hash_consistent else ""
    return {
        "round_robin": "",
        "least_conn": "least_conn",
        "ip_hash": "ip_hash",
        "hash": f"hash {service.hash_key}{consistent}",
        "random_two": "random two least_conn",
    }[service.policy]


def _hash(service: ServiceSection) -> str:
    """How the watched balancer hashes; empty for every other policy."""
    if service.policy != "hash":
        return ""
    return "consistent" if service.hash_consistent else "plain"
