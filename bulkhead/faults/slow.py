"""slow: an instance answers late, as with a cold cache or a tired disk."""

from typing import Annotated

from pydantic import Field

from bulkhead.faults import admin
from bulkhead.faults.base import Fault, Site, Steps, Targets, register


@register
class Slow(admin.Told):
    """The targets hold a share of their requests up before they do anything for them."""

    name = "slow"

    class Params(Fault.Params):
        """How long, and how many of the requests."""

        slow_ms: Annotated[float, Field(gt=0, le=60_000)]
        share: Annotated[float, Field(gt=0, le=1)] = 1.0

    params: Params

    def hold(self, site: Site, targets: Targets) -> Steps:
        """Tell them; a request that waits out its delay when it is undone still does."""
        try:
            yield admin.apply(
                site, targets, slow_ms=self.params.slow_ms, slow_share=self.params.share
            )
        finally:
            undone = admin.clear(site, targets)
        return undone
