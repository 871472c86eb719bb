"""The application factory of the web service."""

import secrets

from flask import Flask
from jinja2 import StrictUndefined
from werkzeug.middleware.proxy_fix import ProxyFix

from services import identity
from services.rows import Rows
from services.web import answers, errors, lifecycle, pages, probes, sessions
from services.web.instance import Instance
from services.web.ledger_client import LedgerClient
from services.web.settings import Settings, session_key


def create_app(settings: Settings) -> Flask:
    """The web service of this process; call it after the fork, for the identity is the process's.

    Raises:
        SettingsError: the key file for the sessions cannot be used.
        OSError: the row file cannot be opened.
    """
    app = Flask(__name__)
    # One limit for every kind of body; Flask would hold forms to a smaller one of its own.
    limit = settings.max_body_kb * 1024
    app.config.update(MAX_CONTENT_LENGTH=limit, MAX_FORM_MEMORY_SIZE=limit)
    app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    # Exactly one proxy stands in front, and it overwrites these headers, so the last value of each
    # is its word. Called directly, without them, the request's own address and Host are used.
    # A second hop here would believe what a client wrote.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]

    who = identity.current()
    Instance(who, Rows(settings.rows, who)).attach(app)
    app.extensions["ledger"] = LedgerClient(settings.proxy_url, settings.api_timeout_s)
    sessions.install(app, signing_key(app, settings))
    lifecycle.install(app)
    errors.install(app)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(answers.blueprint)
    app.register_blueprint(probes.blueprint)
    return app


def signing_key(app: Flask, settings: Settings) -> bytes:
    """The key from the settings' file, or a random one that dies with this process."""
    if settings.secret_file:
        return session_key(settings.secret_file)
    app.logger.warning(
        "BULKHEAD_SECRET_FILE is not set: sessions end with this process and no other accepts them"
    )
    return secrets.token_bytes(32)
