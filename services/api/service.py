"""What the handlers of one process share: who it is, its settings, its ledger, its state."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.api.ledger import Ledger
from services.api.metrics import Metrics
from services.api.settings import Settings
from services.identity import Identity
from services.notify import Notifier
from services.rows import Rows

if TYPE_CHECKING:
    from tornado.httpclient import AsyncHTTPClient

    from services.faults import Faults


@dataclass
class Service:
    """The state of this process; everything in it belongs to the event loop."""

    identity: Identity
    settings: Settings
    rows: Rows
    ledger: Ledger
    metrics: Metrics = field(default_factory=Metrics)
    notifier: Notifier = field(default_factory=Notifier.from_environment)
    # One object for each request from its first header line until its answer is with the kernel.
    in_flight: set[object] = field(default_factory=set)
    draining: bool = False
    # Made by the first fan-out.
    web_client: "AsyncHTTPClient | None" = None
    # Made by the first request of the admin socket.
    faults: "Faults | None" = None
