"""The requests of the admin socket: how a drill tells a process what to do wrong.

Standard library only, shared by every service; each serves the socket by its own event loop and
sends what `answer` returns. Once that is sent it begins with what was told: `Faults.grow` and
`Faults.block`.
"""

import json

from services.faults import Faults, RefusedError
from services.identity import Identity

PATH = "/faults"
METHODS = "GET, PUT, DELETE"

Answer = tuple[int, dict[str, str], bytes]


def answer(who: Identity, faults: Faults, method: str, path: str, body: bytes) -> Answer:
    """Do what one request asks for; the status, the headers and the body of its answer."""
    try:
        if path != PATH:
            return refusal(who, 404, "path_not_found", f"Nothing is at {path}.", f"Use {PATH}.")
        if method == "PUT":
            faults.tell(fields(body))
        elif method == "DELETE":
            faults.clear()
        elif method != "GET":
            what = f"{PATH} does not take {method}."
            return refusal(who, 405, "method_not_allowed", what, f"Allowed methods: {METHODS}.")
    except RefusedError as error:
        advice = "Nothing was changed. Correct what is named and send it again."
        return refusal(who, 400, "faults_invalid", f"{error}.", advice)
    named = {"instance": who.instance, "pid": who.pid, "boot": who.boot}
    return reply(who, 200, named | faults.state())


def fields(body: bytes) -> dict[str, object]:
    """The JSON object in `body`.

    Raises:
        RefusedError: there is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError([f"The body is not JSON: {error}"]) from error
    if not isinstance(found, dict):
        raise RefusedError([f"The body must be a JSON object, not {type(found).__name__}"])
    return found


def refusal(who: Identity, status: int, code: str, message: str, resolution: str) -> Answer:
    """An error in the form that all services use."""
    error = {"error_code": code, "error_msg": message, "resolution": resolution}
    status, headers, body = reply(who, status, error)
    return status, headers | ({"Allow": METHODS} if status == 405 else {}), body


def reply(who: Identity, status: int, content: object) -> Answer:
    """`content` as JSON, with the headers that say who answers."""
    body = json.dumps(content).encode() + b"\n"
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return status, who.headers() | headers, body
