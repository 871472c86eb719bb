"""Every error as one Problem: a page for browsers, JSON for programs, never a stack trace."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flask import Response, current_app, g, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException, InternalServerError


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 - it is also what a page shows
    """An error for its reader: `message` names the problem and where, `resolution` what to do.

    Raised by a view it is the answer.
    """

    status: int
    code: str
    message: str
    resolution: str
    headers: Mapping[str, str] = field(default_factory=dict)


# Code and resolution of the statuses that Flask itself answers with.
KNOWN = {
    400: ("bad_request", "Correct the request; sending it again unchanged will fail again."),
    404: ("not_found", "Check the address, or start from the ledger page at /."),
    405: ("method_not_allowed", "Use one of the methods that the Allow header names."),
    413: ("body_too_large", "Send a smaller body."),
    415: ("unsupported_media_type", "Send the form as application/x-www-form-urlencoded."),
    500: ("internal_error", "Try again; if it fails again, report the request id."),
}
SHOWN_CHARACTERS = 80  # of what a client sent


def answer(problem: Problem, template: str = "error.html", **context: object) -> Response:
    """The response that tells `problem`: a page of `template`, or JSON for who prefers that."""
    kinds = ["application/json", "text/html"]  # a client that takes anything gets JSON
    if request.accept_mimetypes.best_match(kinds, kinds[0]) == "text/html":
        response = make_response(render_template(template, problem=problem, **context))
    else:
        response = jsonify(
            error_code=problem.code, error_msg=problem.message, resolution=problem.resolution
        )
    response.status_code = problem.status
    response.headers.update(problem.headers)
    response.vary.add("Accept")
    return response


def unexpected(_error: Exception) -> Response:
    """Log an unforeseen error under the id of its request, and answer with a 500."""
    current_app.logger.exception("request %s: %s %s", g.request_id, request.method, request.path)
    return answer(of_http(InternalServerError()))


def of_http(error: HTTPException) -> Problem:
    """The Problem of an error that Flask or Werkzeug raised."""
    status = error.code or 500
    code, resolution = KNOWN.get(status, ("refused", "Correct the request."))
    if status == 404:
        message = f"There is nothing at {request.path[:SHOWN_CHARACTERS]}."
    elif status == 405:
        refused = f"{request.method[:SHOWN_CHARACTERS]} is not allowed"
        message = f"{refused} at {request.path[:SHOWN_CHARACTERS]}."
    elif status == 413:
        largest = current_app.config["MAX_CONTENT_LENGTH"] // 1024
        message = f"The body of the request is too large; the limit is {largest} KB."
    elif status == 500:
        message = "This service failed to handle the request."
    else:
        message = error.description or error.name
    allow = {name: value for name, value in error.get_headers(request.environ) if name == "Allow"}
    return Problem(status, code, message, resolution, allow)
