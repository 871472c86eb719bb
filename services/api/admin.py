"""The requests of the admin socket, answered by Tornado.

They come by a server of their own and are no load: they leave no row and no metric, and a drain
does not wait for them.
"""

import asyncio
from collections.abc import Iterator
from functools import partial
from http.client import responses

from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine

from services import admin
from services.api.service import Service
from services.faults import Faults


def answer(service: Service, request: HTTPServerRequest) -> None:
    """Answer one request, then begin with what was told."""
    faults = service.faults = service.faults or Faults()
    status, headers, body = admin.answer(
        service.identity, faults, request.method or "", request.path, request.body
    )
    connection = request.connection
    assert connection is not None
    start = ResponseStartLine("HTTP/1.1", status, responses[status])
    sent = connection.write_headers(start, HTTPHeaders(headers), body)
    sent.add_done_callback(partial(begin, faults))
    connection.finish()


def begin(faults: Faults, sent: "asyncio.Future[None]") -> None:
    """Begin with what was told; the kernel has the answer."""
    if not sent.cancelled():
        sent.exception()  # a client that left early is no error; mark the exception as seen
    grow(faults.grow())
    faults.block()


def grow(steps: Iterator[float]) -> None:
    """Take one step, and the next one after the pause that it asks for."""
    for pause_s in steps:
        asyncio.get_running_loop().call_later(pause_s, grow, steps)
        return
