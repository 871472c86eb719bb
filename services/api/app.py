"""The application: which path is which resource."""

from tornado.web import Application, url

from services.api.handlers.base import NotFound
from services.api.handlers.entries import Entries, EntryById
from services.api.handlers.fanout import Fanout
from services.api.handlers.probe import Healthz, MetricsPage, Readyz
from services.api.handlers.whoami import OpenApi, Whoami
from services.api.handlers.work import Work
from services.api.service import Service

ROUTES = [
    url(r"/healthz", Healthz),
    url(r"/readyz", Readyz),
    url(r"/metrics", MetricsPage),
    url(r"/api/v1/whoami", Whoami),
    url(r"/api/v1/work", Work),
    url(r"/api/v1/fanout", Fanout),
    url(r"/api/v1/openapi\.json", OpenApi),
    url(r"/api/v1/entries", Entries),
    url(r"/api/v1/entries/([^/]*)", EntryById),
]


def make_app(service: Service) -> Application:
    """The application of one process, around the state that its handlers share."""
    return Application(
        ROUTES,
        service=service,
        default_handler_class=NotFound,
        # Every request is in the proxy's log and, if switched on, in the service rows. A log line
        # would also wake supervisord and so falsify what is measured about it.
        log_function=lambda _handler: None,
    )
