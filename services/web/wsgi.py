"""The WSGI application that gunicorn serves: `services.web.wsgi:app`.

gunicorn imports this after the fork: the identity and the row file are the process's own.
"""

from flask import Flask
from gevent import spawn_later
from jinja2 import StrictUndefined
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

from services.common.identity import current
from services.common.rows import Rows
from services.common.settings import WebSettings
from services.web import error_pages, lifecycle, pages, sessions
from services.web.error_pages import of_http
from services.web.ledger_client import LedgerClient

settings = WebSettings.from_environment()
identity = current()
rows = Rows(settings.rows, identity, spawn_later)

app = Flask(__name__)
# One limit for every kind of body; Flask would hold forms to a smaller one of its own.
limit = settings.max_body_kb * 1024
app.config.update(MAX_CONTENT_LENGTH=limit, MAX_FORM_MEMORY_SIZE=limit)
app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
# Exactly one proxy stands in front, and it overwrites these headers, so the last value of each
# is the proxy's. With a second hop here, a client could write them.
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]
ledger = LedgerClient(settings.proxy_url, settings.api_timeout_s)
app.extensions["worker"] = lifecycle.WorkerState(identity, rows, ledger)
sessions.install(app, settings.secret_file)
app.before_request(lifecycle.begin)
app.after_request(lifecycle.finish)
app.teardown_request(lifecycle.abandon)
app.register_error_handler(error_pages.Problem, error_pages.answer)
app.register_error_handler(HTTPException, lambda error: error_pages.answer(of_http(error)))
app.register_error_handler(Exception, error_pages.unexpected)
for blueprint in (lifecycle.answers, lifecycle.probes, pages.blueprint):
    app.register_blueprint(blueprint)
