"""How an open-loop schedule comes to the workers: the master deals it out when the test begins.

Locust starts one user in each worker. It takes the worker's share; one that finds none, because
Locust has spread its users anew after a worker had come or gone, must not send anything.
"""

import logging
import time
from typing import Any

import gevent

from loadtest.share import WHOLE, Share

SHARE = "open_loop_share"
LEAD_S = 1.0  # by then every worker has its share, its user and its plan: all begin at one moment

log = logging.getLogger(__name__)


class Hand:
    """What there is to take in this process: alone it is always the whole schedule."""

    def __init__(self) -> None:
        self._share: Share | None = None
        self._alone = True

    def listen(self, runner: Any) -> None:
        """Be a worker's: from now on only what the master deals can be taken, once."""
        self._alone = False
        runner.register_message(SHARE, self._on_share)

    def take(self) -> Share | None:
        """The share that one user is to carry out; None when there is none."""
        share, self._share = self._share, None
        return WHOLE if self._alone else share

    def _on_share(self, msg: Any, **_more: object) -> None:
        self._share = Share(**msg.data)


class Dealer:
    """In the master: one user for each of `workers` workers, and a share for each of them."""

    def __init__(self, environment: Any, runner: Any, workers: int) -> None:
        self._environment = environment
        self._runner = runner
        self._workers = workers
        for user in environment.user_classes:
            user.fixed_count = workers
        # Whatever was asked for; Locust reads it after its `init` event.
        environment.parsed_options.num_users = workers
        environment.parsed_options.spawn_rate = workers
        environment.events.test_start.add_listener(self._on_test_start)

    def _on_test_start(self, **_more: object) -> None:
        """Locust fires it before it has a worker start its user, and messages keep their order."""
        nodes = sorted(self._runner.clients)
        if len(nodes) != self._workers:
            log.error("%d workers, expected %d: nothing is sent", len(nodes), self._workers)
            self._environment.process_exit_code = 1
            gevent.spawn(self._runner.quit)
            return
        began = time.monotonic() + LEAD_S
        for index, node in enumerate(nodes):
            share = {"index": index, "of": len(nodes), "began": began}
            self._runner.send_message(SHARE, share, node)
