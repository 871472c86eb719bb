"""A locustfile that writes down what its Locust was told, and by which environment."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import locust
from requests.utils import get_environ_proxies, get_netrc_auth

from loadtest import settings

URL = "http://127.0.0.1:8080/"


class Idle(locust.User):
    """Sends nothing."""

    wait_time = locust.constant(0.1)

    @locust.task
    def nothing(self) -> None:
        """A turn."""


def dump(environment: Any, runner: Any, **_more: object) -> None:
    """Locust's `init` listener."""
    chosen = settings.read(settings.Settings, os.environ)
    if chosen.port_file and "--master" in sys.argv:
        Path(chosen.port_file).write_text(f"{runner.server.port}\n")
    found = {
        "options": {name: repr(value) for name, value in vars(environment.parsed_options).items()},
        "environment": dict(os.environ),
        "settings": Path(os.environ[settings.FILE]).read_text(),
        "path": sys.path,
        "proxies": get_environ_proxies(URL),
        "password": get_netrc_auth(URL),
    }
    role = f"worker-{chosen.worker}" if "--worker" in sys.argv else "leader"
    Path(f"dump-{role}.json").write_text(json.dumps(found))


events: Any = locust.events
events.init.add_listener(dump)
