"""errors: an instance answers with errors, fast and without doing anything."""

from typing import Annotated

from pydantic import Field

from bulkhead.faults import admin
from bulkhead.faults.base import Fault, Site, Steps, Targets, register


@register
class Errors(admin.Told):
    """The targets answer a share of their requests with a status of failure instead."""

    name = "errors"

    class Params(Fault.Params):
        """How many of the requests, and with which status."""

        share: Annotated[float, Field(gt=0, le=1)] = 1.0
        status: Annotated[int, Field(ge=400, le=599)] = 503

    params: Params

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Tell them, and tell them otherwise."""
        try:
            yield admin.apply(
                site, targets, errors_share=self.params.share, errors_status=self.params.status
            )
        finally:
            undone = admin.clear(site, targets)
        return undone
