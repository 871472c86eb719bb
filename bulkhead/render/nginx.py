"""Topology -> nginx.conf. It looks up and formats; every decision is in the topology."""

import hashlib
from dataclasses import dataclass

from bulkhead.render.files import File
from bulkhead.render.paths import Home
from bulkhead.render.templates import environment
from bulkhead.topology.model import Instance, ServiceSection, Topology


@dataclass(frozen=True)
class ErrorText:
    """What nginx says when it answers with an error of its own."""

    status: int
    code: str
    msg: str
    resolution: str


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


@dataclass(frozen=True)
class Upstream:
    """One `upstream` block and its locations."""

    service: str
    policy: str  # the directive that picks an instance; empty for nginx's own round robin
    instances: list[Instance]
    routes: list[str]
    max_fails: int
    fail_timeout_s: int
    timeout_s: float


def render_nginx(topology: Topology, user: str | None) -> list[File]:
    """nginx.conf. `user` is who the workers run as when nginx is started by root, else None."""
    home = Home(topology.home)
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
        "errors": ERRORS,
        "statics": statics,
        "upstreams": [_upstream(topology, name) for name in topology.services],
        "instances": topology.instances(),
    }
    # The generation names what is in the file, so that a reload can be seen to be complete.
    draft = template.render(values, generation="")
    generation = hashlib.sha256(draft.encode()).hexdigest()[:16]
    return [File(home.nginx_conf, template.render(values, generation=generation))]


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
        policy=_policy(service),
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
