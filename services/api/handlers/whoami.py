"""GET /api/v1/whoami and GET /api/v1/openapi.json: who answers, and what may be asked."""

import msgspec

from services.api.handlers.base import BaseHandler
from services.api.inputs import read_query


class Whoami(BaseHandler):
    """The process that answers."""

    def get(self) -> None:
        """Answer with the identity of this process and the id of this request."""
        read_query(self.request)
        identity = self.service.identity
        self.finish(
            msgspec.json.encode(
                {
                    "service": identity.service,
                    "instance": identity.instance,
                    "pid": identity.pid,
                    "boot": identity.boot,
                    "request_id": self.request_id,
                }
            )
        )

    head = get


class OpenApi(BaseHandler):
    """The description of this API."""

    def get(self) -> None:
        """Answer with the OpenAPI document."""
        read_query(self.request)
        # Imported when first asked for: the document costs memory and boot time, and few need it.
        from services.api.openapi import document

        self.finish(document(self.service.settings.max_body_bytes))

    head = get
