"""What `locust -f loadtest/locustfile.py` runs. It only chooses (see settings.py)."""

import os
import sys
from typing import Any

import locust

from loadtest import parent, seat, settings, shapes
from loadtest.evidence import Evidence
from loadtest.users import Browser, OnceUser, Reader, Writer

__all__ = ["Browser", "Reader", "Shape", "Writer"]

try:
    chosen = settings.read(os.environ)
    place = seat.read(os.environ)
    parent.end_with_it(os.environ)
except ValueError as error:
    sys.exit(f"loadtest/locustfile.py: {error}")

OnceUser.host = chosen.proxy_url
OnceUser.pace = chosen.pace
Shape = shapes.SHAPES.get(chosen.shape)


def patient_stop(parser: Any, **_more: object) -> None:
    """A stop waits for the requests in flight, unless --stop-timeout says otherwise."""
    parser.set_defaults(stop_timeout=OnceUser.request_timeout_s + 1)


events: Any = locust.events
events.init.add_listener(Evidence(chosen.rows, place))
events.init_command_line_parser.add_listener(patient_stop)
