"""A worker process around every request, and its word about itself.

The probes are for the stack; the proxy does not show them outside.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, abort, current_app, g, jsonify, request, session
from werkzeug.exceptions import HTTPException

from services.common.identity import Identity, request_id, sub_request_id
from services.common.rows import Execution, Rows
from services.web import sessions
from services.web.error_pages import Problem
from services.web.ledger_client import LedgerClient

if TYPE_CHECKING:
    from services.common.fault_injection import Faults

answers = Blueprint("answers", __name__)
# The stack's own requests: they get identity headers but no rows.
probes = Blueprint("probes", __name__)

SECURITY_HEADERS = {
    # Everything comes from this origin; no inline script or style, no plug-in, no framing.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass
class WorkerState:
    """The state of one worker process; the gunicorn worker replaces `draining`.

    The counters are plain integers: greenlets of one thread never interrupt each other there.
    """

    identity: Identity
    rows: Rows
    ledger: LedgerClient
    draining: Callable[[], bool] = lambda: False
    in_flight: int = 0
    answered: Counter[int] = field(default_factory=Counter)
    # Made by the first request of the admin socket.
    faults: "Faults | None" = None


def current_worker() -> WorkerState:
    """The state of the worker that runs the current application."""
    return cast(WorkerState, current_app.extensions["worker"])


def begin() -> None:
    """Name the request and write its start row, before it has any effect."""
    worker = current_worker()
    g.request_id = request_id(request.headers.get("X-Request-ID"))
    g.sub_request_ids = map(partial(sub_request_id, g.request_id), count(1))
    if request.blueprint != probes.name:
        worker.in_flight += 1
        target = request.environ.get("RAW_URI") or request.full_path
        key = request.headers.get("Idempotency-Key")
        g.execution = worker.rows.begin(g.request_id, request.method, target, key)
    if request.content_length or "Transfer-Encoding" in request.headers:
        read_whole_body()
    if worker.faults and worker.faults.active and "execution" in g:
        apply_faults(worker.faults, g.execution)


def apply_faults(faults: "Faults", execution: Execution) -> None:
    """Apply injected faults to a request: raise a Problem, or delay it."""
    execution.fault = faults.draw()
    if execution.fault == "errors":
        status = faults.told["errors_status"]
        message = f"A drill told this instance to answer {status}; this request was not executed."
        raise Problem(status, "injected_error", message, "Repeat the request, or end the drill.")
    if execution.fault == "slow":
        time.sleep(faults.told["slow_ms"] / 1000)  # gevent's under gunicorn: only this waits


def read_whole_body() -> None:
    """Read the body now, within the limit, so that no view ever sees a part of one.

    Werkzeug takes a body for complete when its sender died, or when it is chunked and reaches the
    limit: a form would be read with its last field cut off.
    """
    try:
        body = request.get_data()
        if request.content_length is None:
            request.stream.read(1)  # finds nothing, or raises beyond the limit
    except HTTPException:
        raise
    except Exception as error:  # of no common kind: the server's own words for a malformed body
        abort(400, f"The body cannot be read: {error}")
    if len(body) < (request.content_length or 0):
        abort(400, f"The body ends after {len(body)} of {request.content_length} bytes.")


def finish(response: Response) -> Response:
    """Name this process, and write the end row once the answer has been sent."""
    response.headers.update(current_worker().identity.headers())
    response.headers["X-Request-ID"] = g.request_id
    response.headers.update(SECURITY_HEADERS)
    # Pages carry one-time keys and the session; a copy kept anywhere would be a wrong one.
    response.headers.setdefault("Cache-Control", "no-store")
    execution = g.pop("execution", None)
    if execution is not None:
        ended = partial(end, current_worker(), execution, response.status_code)
        if response.direct_passthrough:
            ended()  # a file is handed to the server as it is, which never calls close()
        else:
            response.call_on_close(ended)
    return response


def end(worker: WorkerState, execution: Execution, status: int) -> None:
    """Write the end row of one execution; called when the application's context is gone already."""
    worker.in_flight -= 1
    worker.answered[status] += 1
    worker.rows.end(execution, status)


def abandon(_error: BaseException | None) -> None:
    """End the row of a request that died without a response: gunicorn answers it with a 500."""
    execution = g.pop("execution", None)
    if execution is not None:
        end(current_worker(), execution, 500)


@answers.get("/whoami")
def whoami() -> Response:
    """The process that answers; it neither reads nor sets a cookie."""
    return jsonify(**vars(current_worker().identity), request_id=g.request_id)


@answers.get("/session")
def show_session() -> Response:
    """Count a visit and show the count, whichever instance counted the earlier ones."""
    visits, instance = sessions.visit(), current_worker().identity.instance
    return jsonify(visits=visits, instance=instance, session=session["id"])


@probes.get("/healthz")
def healthz() -> Response:
    """200 whenever this process can answer at all."""
    return state("alive")


@probes.get("/readyz")
def readyz() -> tuple[Response, int]:
    """200 when new requests are welcome, 503 once this process has been told to stop.

    A ledger that is down does not matter: without web instances nobody could say so.
    """
    return (state("draining"), 503) if current_worker().draining() else (state("ready"), 200)


@probes.get("/metrics")
def metrics() -> Response:
    """Counters of this process in Prometheus' text form; `boot` tells the workers apart."""
    worker = current_worker()
    identity = worker.identity
    labels = f'instance="{identity.instance}",boot="{identity.boot}"'
    lines = [
        "# HELP bulkhead_requests_total Requests answered, by status.",
        "# TYPE bulkhead_requests_total counter",
        *(
            f'bulkhead_requests_total{{{labels},status="{status}"}} {number}'
            for status, number in sorted(worker.answered.items())
        ),
        "# HELP bulkhead_requests_in_flight Requests begun and not yet answered.",
        "# TYPE bulkhead_requests_in_flight gauge",
        f"bulkhead_requests_in_flight{{{labels}}} {worker.in_flight}",
        "# HELP bulkhead_rows_dropped_total Rows that could not be written.",
        "# TYPE bulkhead_rows_dropped_total counter",
        f"bulkhead_rows_dropped_total{{{labels}}} {worker.rows.dropped}",
        "# HELP bulkhead_draining Whether this process has been told to stop.",
        "# TYPE bulkhead_draining gauge",
        f"bulkhead_draining{{{labels}}} {int(worker.draining())}",
    ]
    return Response("\n".join(lines) + "\n", content_type="text/plain; version=0.0.4")


def state(status: str) -> Response:
    """The identity and the state of this process."""
    worker = current_worker()
    return jsonify(worker.identity.state(status, worker.rows.dropped))
