"""What supervisors and monitors ask; the proxy shows none of it to the outside."""

from flask import Blueprint, Response, jsonify

from services.web.instance import this
from services.web.lifecycle import INTERNAL

blueprint = Blueprint(INTERNAL, __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """200 whenever this process can answer at all."""
    return state("alive")


@blueprint.get("/readyz")
def readyz() -> tuple[Response, int]:
    """200 when new requests are welcome, 503 once this process has been told to stop.

    A ledger that is down does not make this instance unready: taking every web instance out would
    turn a clear message into no answer at all.
    """
    return (state("draining"), 503) if this().draining() else (state("ready"), 200)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Counters of this process in Prometheus' text form; `boot` tells the workers apart."""
    instance = this()
    who = f'instance="{instance.identity.instance}",boot="{instance.identity.boot}"'
    lines = [
        "# HELP bulkhead_requests_total Requests answered, by status.",
        "# TYPE bulkhead_requests_total counter",
        *(
            f'bulkhead_requests_total{{{who},status="{status}"}} {number}'
            for status, number in sorted(instance.answered.items())
        ),
        "# HELP bulkhead_requests_in_flight Requests begun and not yet answered.",
        "# TYPE bulkhead_requests_in_flight gauge",
        f"bulkhead_requests_in_flight{{{who}}} {instance.in_flight}",
        "# HELP bulkhead_draining Whether this process has been told to stop.",
        "# TYPE bulkhead_draining gauge",
        f"bulkhead_draining{{{who}}} {int(instance.draining())}",
    ]
    return Response("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4")


def state(status: str) -> Response:
    """Who answers and in which state."""
    identity = this().identity
    return jsonify(instance=identity.instance, boot=identity.boot, status=status)
