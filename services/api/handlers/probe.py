"""The internal endpoints: is it alive, is it ready, how is it doing. nginx never exposes them."""

import msgspec

from services.api.handlers.base import BaseHandler


class Healthz(BaseHandler):
    """Alive: the event loop answers."""

    recorded = False

    def get(self) -> None:
        """Answer 200 for as long as the process can answer at all."""
        self.answer("alive")

    head = get

    def answer(self, status: str) -> None:
        """Answer who this is and its `status`."""
        identity = self.service.identity
        self.finish(
            msgspec.json.encode(
                {"instance": identity.instance, "boot": identity.boot, "status": status}
            )
        )


class Readyz(Healthz):
    """Ready: new work may be sent here."""

    def get(self) -> None:
        """Answer 200, or 503 once this instance has begun to shut down."""
        if self.service.draining:
            self.set_status(503)
            self.answer("draining")
        else:
            self.answer("ready")

    head = get


class MetricsPage(BaseHandler):
    """The numbers of this process."""

    recorded = False

    def get(self) -> None:
        """Answer with Prometheus' text format."""
        service = self.service
        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.finish(service.metrics.text(len(service.in_flight), service.ledger.counts))

    head = get
