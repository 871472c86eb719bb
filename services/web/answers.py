"""The JSON answers: who am I talking to, and what does my session hold."""

from flask import Blueprint, Response, g, jsonify, session

from services.web import sessions
from services.web.instance import this

blueprint = Blueprint("answers", __name__)


@blueprint.get("/whoami")
def whoami() -> Response:
    """The process that answers; it neither reads nor sets a cookie."""
    identity = this().identity
    return jsonify(
        service=identity.service,
        instance=identity.instance,
        pid=identity.pid,
        boot=identity.boot,
        request_id=g.request_id,
    )


@blueprint.get("/session")
def show_session() -> Response:
    """Count a visit and show the count, whichever instance counted the earlier ones."""
    visits = sessions.visit()
    return jsonify(visits=visits, instance=this().identity.instance, session=session["id"])
