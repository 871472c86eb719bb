"""What one worker process knows about itself: who it is, its row file, its counters."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from flask import Flask, current_app

from services.identity import Identity
from services.rows import Rows

if TYPE_CHECKING:
    from services.faults import Faults


@dataclass
class Instance:
    """One worker process of one instance; made after the fork, never shared between processes.

    `draining` answers whether this process has been told to stop; the gunicorn worker replaces it.
    The counters are plain integers: greenlets of one thread never interrupt each other there.
    """

    identity: Identity
    rows: Rows
    draining: Callable[[], bool] = lambda: False
    in_flight: int = 0
    answered: Counter[int] = field(default_factory=Counter)
    # Made by the first request of the admin socket.
    faults: "Faults | None" = None

    def attach(self, app: Flask) -> None:
        """Make this the instance that `this()` finds in `app`."""
        app.extensions["instance"] = self


def this() -> Instance:
    """The instance that runs the current application."""
    return cast(Instance, current_app.extensions["instance"])
