"""What happens to every request: an id, rows at begin and end, identity and security headers."""

import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

from flask import Flask, Response, abort, g, request
from werkzeug.exceptions import HTTPException

from services import identity
from services.rows import Execution
from services.web.errors import Problem, RefusedError
from services.web.instance import Instance, this

if TYPE_CHECKING:
    from services.faults import Faults

# The blueprint whose requests are the stack's own business: they get identity but no rows.
INTERNAL = "probes"

LONGEST_ID = 128

SECURITY_HEADERS = {
    # Everything comes from this origin; no inline script or style, no plug-in, no framing.
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def install(app: Flask) -> None:
    """Run these hooks around every request of `app`."""
    app.before_request(begin)
    app.after_request(finish)
    app.teardown_request(abandon)


def begin() -> None:
    """Name the request and write its begin row, before anything it asks for is done."""
    instance = this()
    g.request_id = identity.request_id(request.headers.get("X-Request-ID"))
    g.sub_request_ids = sub_request_ids(g.request_id)
    if request.blueprint != INTERNAL:
        instance.in_flight += 1
        g.execution = instance.rows.begin(
            g.request_id,
            request.method,
            request.environ.get("RAW_URI") or request.full_path,
            request.headers.get("Idempotency-Key"),
        )
    if request.content_length or "Transfer-Encoding" in request.headers:
        read_whole_body()
    faults = instance.faults
    if faults is not None and faults.active and "execution" in g:
        suffer(faults, g.execution)


def suffer(faults: "Faults", execution: Execution) -> None:
    """Do to a request what a drill told this process to do, before it has any effect.

    Raises:
        RefusedError: it is to be answered with an error.
    """
    execution.fault = faults.draw()
    if execution.fault == "errors":
        status = faults.errors_status
        raise RefusedError(
            Problem(
                status,
                "injected_error",
                f"A drill told this instance to answer {status}; this request was not executed.",
                "Repeat the request, or end the drill.",
            )
        )
    if execution.fault == "slow":
        time.sleep(faults.slow_s)  # under gunicorn gevent's: only this request waits


def read_whole_body() -> None:
    """Read the body now, within the limit, so that no view ever sees a part of one.

    Werkzeug by itself takes a body whose sender died, or a chunked one that reaches the limit, for
    a complete one: a form would be read with its last field cut off.
    """
    try:
        body = request.get_data()
        if request.content_length is None:
            request.stream.read(1)  # finds nothing, or refuses what goes beyond the limit
    except HTTPException:
        raise
    except Exception as error:  # of no common kind: the server's own words for a malformed body
        abort(400, f"The body cannot be read: {error}")
    if len(body) < (request.content_length or 0):
        abort(400, f"The body ends after {len(body)} of {request.content_length} bytes.")


def finish(response: Response) -> Response:
    """Say who answered, and write the end row once the answer has been sent."""
    response.headers.update(this().identity.headers())
    response.headers["X-Request-ID"] = g.request_id
    response.headers.update(SECURITY_HEADERS)
    # Pages carry one-time keys and the session; a copy kept anywhere would be a wrong one.
    response.headers.setdefault("Cache-Control", "no-store")
    execution = g.pop("execution", None)
    if execution is not None:
        ended = partial(end, this(), execution, response.status_code)
        if response.direct_passthrough:
            ended()  # a file is handed to the server as it is, which never calls close()
        else:
            response.call_on_close(ended)
    return response


def end(instance: Instance, execution: Execution, status: int) -> None:
    """Write the end row of one execution; called when the application's context is gone already."""
    instance.in_flight -= 1
    instance.answered[status] += 1
    instance.rows.end(execution, status)


def abandon(_error: BaseException | None) -> None:
    """End the row of a request that died without a response: gunicorn answers it with a 500."""
    execution = g.pop("execution", None)
    if execution is not None:
        end(this(), execution, 500)


def sub_request_ids(parent: str) -> Iterator[str]:
    """`<parent>.1`, `<parent>.2`, ...: ids for the calls made for one request, always well formed.

    A parent that would make them too long is cut at its end.
    """
    for number in count(1):
        suffix = f".{number}"
        yield parent[: LONGEST_ID - len(suffix)] + suffix
