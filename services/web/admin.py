"""The admin socket of one gunicorn worker, served by its gevent hub beside the public listener.

Its connections are in no pool that a drain waits for, and its requests never reach the application:
they leave no row and no metric. The master imports this module, so it must not import Flask.
"""

from collections.abc import Callable, Iterable, Iterator
from http.client import responses
from typing import TYPE_CHECKING, Any

import gevent
from gevent.pywsgi import WSGIServer

from services.admin_socket import MAX_BODY, listen, remove

if TYPE_CHECKING:
    from services.faults import Faults
    from services.web.instance import Instance

Start = Callable[[str, list[tuple[str, str]]], object]


class AdminServer:
    """The admin socket of this process, open until `close`; made after the fork.

    Raises:
        OSError: the socket cannot be made.
    """

    def __init__(self, folder: str, instance: "Instance") -> None:
        self._instance = instance
        self._listening = listen(folder, instance.identity)
        self._server = WSGIServer(self._listening, self._application, log=None)
        self._server.start()

    def close(self) -> None:
        """Close the socket and remove its file; whoever is still connected is not waited for."""
        remove(self._listening)
        self._server.close()

    def _application(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        from services import admin  # by the first request: most workers are never told anything
        from services.faults import Faults

        faults = self._instance.faults = self._instance.faults or Faults()
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        given = environ["wsgi.input"].read(MAX_BODY)
        status, headers, body = admin.answer(self._instance.identity, faults, method, path, given)
        start(f"{status} {responses[status]}", list(headers.items()))
        return answered(body, faults)


def answered(body: bytes, faults: "Faults") -> Iterator[bytes]:
    """The body; what was told begins once the kernel has it."""
    yield body
    gevent.spawn(grow, faults)
    faults.block()


def grow(faults: "Faults") -> None:
    """Take the memory that was told, step by step."""
    for pause_s in faults.grow():
        gevent.sleep(pause_s)
